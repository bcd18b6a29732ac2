"""Whether the first line of a table holds the names of its columns: what it looks like beside the lines below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

LONGEST = 40  # characters of a name
NAME = re.compile(r"[^\W\d][\w .:/()#-]*")
# Words that name columns in published tables; what is behind them ("text_a", "sentence1") does not count.
USUAL = frozenset(
    "text texts sentence sentences source target src tgt input inputs output outputs label labels class classes "
    "category sentiment tag tags token tokens word words pos ner id idx index guid question questions answer answers "
    "context passage paragraph document documents title body content review comment tweet message messages query "
    "premise hypothesis score scores rating stars similarity relatedness anchor positive negative prompt prompts "
    "completion response chosen rejected instruction choices summary article headline abstract description topic "
    "intent emotion language lang split name date author url english german french spanish italian portuguese dutch "
    "russian chinese japanese korean arabic turkish polish czech".split()
)
CODES = frozenset(
    "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn "
    "ko ky la lb lt lv mk ml mn mr ms my ne nl no oc pa pl ps pt ro ru sd si sk sl so sq sr sv sw ta te th tr uk ur uz "
    "vi xh yi yo zh zu".split()
)


def is_name(field: str) -> bool:
    """Whether a field could be the name of a column: short, a few words, no number and no sentence."""
    field = field.strip()
    return len(field) <= LONGEST and len(field.split()) <= 3 and NAME.fullmatch(field) is not None and field[-1] != "."


def is_usual(field: str) -> bool:
    """Whether a field is a word that columns are often called, or the code of a language."""
    word = re.sub(r"[\W\d_]+.*$", "", field.strip().casefold())
    return word in USUAL or field.strip().casefold().partition("-")[0] in CODES


def is_counted(fields: Sequence[str]) -> bool:
    """Whether fields are 0, 1 ..., which pandas writes above columns without names."""
    return len(fields) > 1 and list(fields) == [str(number) for number in range(len(fields))]


def looks_like_names(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether the first line of a table names its columns, `body` being some of the lines below.

    All its fields are short and different, and one at least tells: it is a usual name of a column, or unlike what
    stands below it (numbers, sentences, the same few labels again and again). Empty fields may be of an index.
    """
    fields = [field.strip() for field in first if field.strip()]
    if is_counted(fields) and len(fields) == len(first):
        return True
    if not fields or len(set(fields)) < len(fields) or not all(map(is_name, fields)):
        return False
    if any(map(is_usual, fields)):
        return True
    columns = zip(first, *(row for row in body if len(row) == len(first)), strict=True)
    return any(_differs(name.strip(), [value.strip() for value in values]) for name, *values in columns if name.strip())


def _differs(name: str, values: Sequence[str]) -> bool:
    """Whether a field is of another kind than those below it."""
    values = [value for value in values if value]
    if len(values) < 3 or name in values:
        return False
    if all(re.fullmatch(r"[-+]?\d+([.,]\d+)?", value) for value in values):
        return True
    if median(len(value.split()) for value in values) >= 3 > len(name.split()):
        return True
    return len(values) >= 6 and len(set(values)) <= len(values) // 3
