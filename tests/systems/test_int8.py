"""int8 on a real model and a real text: nearly as likely, a quarter of the memory."""

from pathlib import Path

import pytest

import formers
from formers.errors import ConfigError
from formers.kernels.matrix import Int8
from formers.kernels.weight import matrices

TEXT = Path(__file__).parents[3] / "shared" / "data" / "shakespeare" / "input.txt"


@pytest.mark.slow
def test_perplexity_of_a_real_text_is_within_one_per_cent(smollm, smollm_speaks):
    if not TEXT.exists():
        pytest.skip(f"{TEXT} is not here")
    text = TEXT.read_text(encoding="utf-8")[100_000:104_000]
    plain = smollm_speaks
    expected = plain.perplexity(text, window=512)
    for dtype in ("int8", "int8:64"):
        small = formers.load(smollm, dtype=dtype)
        weights = {id(weight.form): weight.form for _, weight in matrices(small.model)}
        assert all(isinstance(form, Int8) for form in weights.values())
        held = sum(form.numbers.nbytes + form.scale.nbytes for form in weights.values())
        assert held < 0.28 * sum(weight.nbytes for weight in plain.model.parameters())
        assert abs(small.perplexity(text, window=512) / expected - 1) < 0.01
        assert small.generate("The capital of France is", max_tokens=1).text == " Paris"


def test_what_is_no_number_format(tmp_path):
    for dtype in ("int4", "int8:", "int8:0", "int8:x", "fp32:8"):
        with pytest.raises(ConfigError, match="dtype"):
            formers.load(tmp_path, dtype=dtype)
    with pytest.raises(ConfigError, match="CPU only"):
        formers.load(tmp_path, dtype="int8", device="cuda")
