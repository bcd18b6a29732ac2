"""Long text into sentences, for models that translate one sentence at a time; nothing of the text is lost.

Simple rules, in doubt no cut: two sentences translated as one lose little, half a sentence loses its sense.
"""

from __future__ import annotations

import re
import unicodedata

from formers.errors import ConfigError

_CLOSING = "\"'”’“»«›‹)\\]}"  # “ and « also close: German „so“ and »so«
# white space, or the full stop of a script that writes no spaces
_GAP = re.compile(r"(?P<wide>[。！？]+)(?P<close>[」』）”’]*)(?P<after>\s*)|\s+")
# what str.splitlines takes for the end of a line
_BREAK = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_END = re.compile(rf"(?P<mark>[.!?…]+)(?P<close>[{_CLOSING}]*)$")
_NEXT = re.compile(r"[\"'“”„‚‘«»‹›(\[{–—*¿¡-]*\s*(?P<word>\w+)(?P<dot>\.?)")
# the word before a full stop: letters joined by dots ("z.B", "z. B", "U.S"), a plain word, or a number
_WORD = re.compile(r"(?:(?<!\w)(?P<dotted>(?:[^\W\d_]\.\s?)*[^\W\d_])|(?P<word>[^\W_]+))$")
_ORDINAL = re.compile(r"\d{1,2}|[IVXL]{2,}")  # "am 3. Mai", "Karl II. Otto"; a year ends a sentence
_CLAUSE = re.compile(r"[,;:–—，、；：]\s+")


# never the end of a sentence: something always follows
TITLES = frozenset(
    """
    mr mrs ms mx dr prof st mt ft gen col lt sgt capt maj cmdr adm gov sen rep rev hon messrs mme mlle vs
    cf viz approx e.g i.e eg ie hr fr frl dipl ing med jur phil nat bzw bspw sog d.h z.b z.t u.a u.ä o.ä
    i.d.r i.a s.o s.u v.a d.i m.e m.a.w z.hd z.zt zzt ggf evtl vgl inkl exkl zzgl abzgl ca geb gest verh
    hrsg bes insb allg jan feb mär apr jun jul aug sep sept okt oct nov dez dec
""".split()
)
# the same only before a number: "No. 5", but "No. He did not."
NUMBERED = frozenset("no nos nr nrn art abs fig abb bd vol ch kap p pp s sec tab tel ziff zi".split())
# words that begin a sentence and follow neither an ordinal nor an initial
OPENERS = frozenset(
    """
    the this that these those there he she it we they you i my his her our their its and but or so if when
    while what who why how where then in on at for after before yes no not all some most many one as is
    are was were do does did der die das dies diese dieser dieses den dem des ein eine einer einem einen
    er sie es wir ihr ich du man und aber oder doch denn wenn als wie was wer wo warum dann da hier dort
    im am auf für nach vor bei mit ja nein nicht alle mein meine sein seine ihre unser unsere heute
    gestern morgen
""".split()
)


def split_spans(text: str, longest: int = 0) -> list[tuple[str, str]]:
    """Pairs of a sentence and what separated it from the next; joined, they are the text again.

    A sentence ends after . ! ? … (with the quotes and brackets that close there) before white space, and at
    every line break. It does not end after abbreviations, initials and ordinals, nor before a small letter.
    Only the first sentence may be empty, when white space begins the text. `longest`: see `split_sentences`.
    """
    if longest < 0:
        raise ConfigError(f"longest ({longest}) must be 0 (no limit) or a number of characters")
    spans: list[tuple[str, str]] = []
    start = 0
    for gap in _GAP.finditer(text):
        end = gap.end("close") if gap["wide"] else gap.start()
        if not (end == 0 or gap.end() == len(text) or _ends_sentence(text, start, end, gap)):
            continue
        spans += _pieces(text[start:end], text[end : gap.end()], longest)
        start = gap.end()
    if start < len(text):
        spans += _pieces(text[start:], "", longest)
    return spans


def split_sentences(text: str, longest: int = 0) -> list[str]:
    """The sentences of a text, without what separates them.

    With `longest` no piece has more characters: longer sentences are cut after a comma or the like in the
    second half of that length, else at the last space, else hard.
    """
    return [sentence for sentence, _ in split_spans(text, longest) if sentence]


def _ends_sentence(text: str, start: int, end: int, gap: re.Match[str]) -> bool:
    """Whether the sentence text[start:end] is over at this gap."""
    if gap["wide"]:  # 「行く。」と言った goes on after the quote
        return bool(gap["after"]) or not gap["close"]
    if _BREAK.search(gap[0]):
        return True
    # a window: a long text without full stops must not take quadratic time
    before = text[max(start, end - 60) : end]
    mark = _END.search(before)
    if mark is None:
        return False
    following = _NEXT.match(text, gap.end())
    word = following["word"] if following else ""
    small = word[:1].islower()
    if mark["mark"] != ".":
        ellipsis = set(mark["mark"]) <= {".", "…"}
        # on goes “Why?” she asked, and I ... see; over is: why? because
        return not (small and (ellipsis or mark["close"]))
    if small:
        return False
    opens = word.casefold() in OPENERS and not (following and following["dot"])
    return _full_stop(before[: mark.start()], word, opens, len(before) == end - start)


def _full_stop(before: str, following: str, opens: bool, whole: bool) -> bool:
    """Whether the single dot after `before` is a full stop; `opens`: a word that begins sentences follows."""
    last = _WORD.search(before)
    if last is None:
        return True
    alone = whole and last.start() == 0  # "1. Introduction": the number of an item, not a sentence
    word = re.sub(r"\s", "", last[0]).casefold()
    if word in TITLES or (word in NUMBERED and following[:1].isdigit()):
        return False
    free = before[: last.start()][-1:] in ("", " ", "(")  # the 14 of 3.14 and the 5 of $5 are no ordinals
    if last["dotted"] or (free and _ORDINAL.fullmatch(last[0])):
        return opens and not alone
    return True


def _pieces(sentence: str, separator: str, longest: int) -> list[tuple[str, str]]:
    """The sentence, cut where it is longer than `longest` characters (0: no limit), and its separator."""
    pieces: list[tuple[str, str]] = []
    start = 0
    while 0 < longest < len(sentence) - start:
        limit = start + longest
        spaces = list(re.finditer(r"\s+", sentence[start : limit + 1]))
        half = start + longest // 2
        clauses = [cut for cut in _CLAUSE.finditer(sentence, half, limit + 1) if cut.start() < limit]
        if clauses:
            end = clauses[-1].start() + 1
        elif spaces:
            end = start + spaces[-1].start()
        else:
            end = limit
            while end > start + 1 and unicodedata.combining(sentence[end]):  # a letter keeps its accent
                end -= 1
        begin = end
        while sentence[begin].isspace():
            begin += 1
        pieces.append((sentence[start:end], sentence[end:begin]))
        start = begin
    return [*pieces, (sentence[start:], separator)]
