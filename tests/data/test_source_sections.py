"""The common [data] section reads what the nine sections of the systems read; to be deleted with these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from formers.data.conversations import FORMS, ConversationData
from formers.data.documents import read_documents
from formers.data.forms import read_form
from formers.data.language import TextData
from formers.data.parallel import ParallelData
from formers.data.preferences import FORMS as PREFERENCES
from formers.data.preferences import PreferenceData
from formers.data.source import Source

TEXT = {"reader": read_documents, "column": "text"}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (ParallelData(), {"columns": ["en", "de"], "text": ["en", "de"]}),
    (TextData(), {**TEXT, "separator": "file"}),
    (ConversationData(), {"reader": read_form, "forms": FORMS}),
    (PreferenceData(), {"reader": read_form, "forms": PREFERENCES}),
]


@pytest.mark.parametrize(("old", "options"), CASES, ids=[type(old).__name__ for old, _ in CASES])
@pytest.mark.parametrize("count", [0, 15])
def test_the_same_rows(old: Any, options: dict[str, Any], count: int) -> None:
    share = old.held_out < 1
    old = replace(old, count=count, seed=3, held_out=old.held_out if share else 20)
    new = Source(train=old.train, count=count, seed=3, held_out=old.held_out)
    for part in ("train", "validation", "test"):
        assert new.read(part, **options) == old.read(part)
    train, validation = new.tables(**options)
    if not isinstance(old, ConversationData | PreferenceData):  # these convert what they read
        assert (train, validation) == old.tables()
    else:
        assert [len(table) for table in (train, validation)] == [len(table) for table in old.tables()]
