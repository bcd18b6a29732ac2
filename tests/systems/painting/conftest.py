"""A whole painter with random weights, as diffusers writes it, and opened."""

import pytest

import formers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder; a file that needs another has a fixture of its own."""
    from tests.systems.painting import tiny_folder

    return tiny_folder.write(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def painter(model):
    return formers.load(model, system="painting")
