"""Files that the tests of reading write, and the one line that a fault is."""

import pytest

from formers.data.sources import read_table
from formers.errors import DataError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into the folder that the test stands in; gives its name."""
    monkeypatch.chdir(tmp_path)

    def put(name, content):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return put


@pytest.fixture
def refused():
    """The message of the DataError that reading a source ends in."""

    def read(source, **options):
        with pytest.raises(DataError) as caught:
            read_table(source, **options)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return read
