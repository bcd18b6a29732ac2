"""A table whose columns have other names than a system reads by: the line that says so names what chooses them."""

import pytest

from formers.data.source import Source
from formers.errors import DataError
from formers.systems.answering.data import PassageRows
from formers.systems.classification.data import LabelledRows
from formers.systems.embedding.data import LikenessRows
from formers.systems.language.data import TextRows
from formers.systems.masked.data import MaskedRows
from formers.systems.tagging.data import TaggedRows
from formers.systems.translation.data import PairRows

CASES = [
    (PairRows(), "source,target", ["rows.source", "rows.target"]),
    (PairRows(), "text,label", ["rows.source", "rows.target"]),
    (LabelledRows(), "review,sentiment", ["rows.text", "rows.label"]),
    (LabelledRows(second="other"), "text,label,id", ["rows.second"]),
    (TaggedRows(), "words,pos", ["rows.tokens", "rows.tags"]),
    (PassageRows(), "passage,question,answer,id", ["rows.context", "rows.answers"]),
    (LikenessRows(rows="pairs"), "query,answer", ["rows.anchor", "rows.positive"]),
    (LikenessRows(rows="triplets"), "anchor,positive,hard", ["rows.negatives"]),
    (LikenessRows(rows="scored"), "sentence1,sentence2,similarity", ["rows.score"]),
    (LikenessRows(), "paraphrases", ["rows.group"]),
    (TextRows(), "title,body", ["rows.column"]),
    (MaskedRows(), "title,body", ["rows.column"]),
]


@pytest.mark.parametrize(("rows", "header", "settings"), CASES)
def test_the_line_names_the_columns_and_what_chooses_them(tmp_path, rows, header, settings):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header] + [",".join(["some words here"] * (header.count(",") + 1))] * 6))
    source = Source(train=str(path), held_out=0.5)
    with pytest.raises(DataError) as caught:
        source.read("train", **rows.reading(source))
    message = str(caught.value)
    assert f"the columns are {header.replace(',', ', ')}" in message
    assert message.endswith("choose with " + " ".join(f"--set {name}=COLUMN" for name in settings))
