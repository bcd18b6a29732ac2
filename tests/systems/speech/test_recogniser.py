"""A model of speech: frames of long recordings, parts between pauses, words in time, a run from data to answers."""

import base64
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from starlette.testclient import TestClient

import formers
from formers.data.builtin.dialtones import strings
from formers.registry import system, verbs_of
from formers.server.app import make_app
from formers.server.models import Models, Served
from formers.systems.speech.stuck import deaf
from formers.systems.speech.system import MARGIN, WINDOW, Recogniser, pause_in
from formers.systems.system import Origin
from tests.cli.conftest import call, fails, works

SMALL = [
    "model.dim=16", "model.heads=2", "model.hidden=32", "model.layers=1", "model.mels=16", "model.channels=4",
    "data.count=24", "data.held_out=6", "rows.seconds_per_batch=10", "train.steps=2", "train.warmup=1",
    "train.evaluate_every=2", "train.save_every=2", "train.log_every=1", "train.sample_every=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("speech") / "run"
    list(formers.train("speech", SMALL, run=folder))
    return folder


@pytest.fixture(scope="module")
def speech(trained) -> Recogniser:
    return formers.load(trained)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A WAV file of dialled keys, and which."""
    (sound, text), *_ = strings("test", 1, 5)
    path = tmp_path_factory.mktemp("sound") / "dialled.wav"
    path.write_bytes(sound.wav())
    return path, text, sound


def test_windows_of_a_long_recording_join_without_a_gap(speech, monkeypatch):
    """With a network that says which sample a frame begins at, every frame comes once and in order."""
    rate, step = speech.extractor.rate, speech.step

    def log_probs(waves):
        (wave,) = waves
        assert len(wave) <= WINDOW * rate
        return [torch.from_numpy(wave[::step].astype(np.float64))[:, None]]

    monkeypatch.setattr(speech, "log_probs", log_probs)
    for seconds in (1.0, WINDOW, WINDOW + 1, 100.37):
        samples = np.arange(round(seconds * rate), dtype=np.float32)
        pieces = np.array_split(samples, 7)
        frames = torch.cat(list(speech.stream(pieces)))[:, 0]
        assert frames.tolist() == samples[::step].tolist()
    assert 2 * MARGIN < WINDOW


def test_silence_says_nothing(speech, trained, tmp_path):
    assert speech.transcribe(np.zeros(40 * speech.extractor.rate, np.float32)).text == ""
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    heard = call("transcribe", trained, tmp_path / "silence.wav")
    assert heard.exit_code == 0 and not heard.stdout.strip() and "nobody speaks" in heard.stderr


def test_parts_end_in_pauses():
    silent = torch.zeros(60, dtype=torch.bool)
    assert pause_in(silent, 5, 100) is None
    silent[20:30] = True
    assert pause_in(silent, 5, 100) == 25 and pause_in(silent, 11, 100) is None
    assert pause_in(silent, 11, 50) == 25  # too long to wait for a longer one
    silent[20:] = True  # may go on
    assert pause_in(silent, 5, 100) is None
    silent[:], silent[:20] = False, True
    assert pause_in(silent, 5, 100) is None  # nothing is said before


def test_what_is_saved_is_read_back(speech, recording, tmp_path):
    _, _, sound = recording
    speech.save(tmp_path / "m")
    opened = formers.load(tmp_path / "m", system="speech")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "parakeet_ctc"
    ours, theirs = (one.log_probs([sound.sound().samples])[0] for one in (speech, opened))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert opened.pieces == speech.pieces and " " in speech.pieces


def test_a_sound_is_heard_alone_as_among_others(speech):
    waves = [sound.sound().samples for sound, _ in strings("test", 3)]
    together = speech.log_probs(waves)
    for wave, row in zip(waves, together, strict=True):
        torch.testing.assert_close(speech.log_probs([wave])[0], row, atol=1e-4, rtol=0)


def test_words_of_a_given_text_grow_and_lie_within_the_recording(speech, recording):
    _, text, sound = recording
    words = speech.align(sound.sound().samples, text)
    assert [word.text.strip() for word in words] == text.split()
    ends = [time for word in words for time in (word.start, word.end)]
    assert ends == sorted(ends) and ends[0] >= 0 and ends[-1] <= sound.seconds + speech.second


def test_commands(trained, recording, tmp_path):
    path, text, _ = recording
    assert json.loads(works("align", trained, path, text, "--json"))["text"] == text
    (tmp_path / "text.txt").write_text("\n".join(text.split()))
    assert works("align", trained, path, tmp_path / "text.txt", "--format", "srt").count("-->") == len(text.split())
    heard = call("transcribe", trained, path, "--json", "--beams", 4, "--hotwords", "12, 34")
    assert heard.exit_code == 0 and "s of sound in" in heard.stderr and "segments" in json.loads(heard.stdout)
    scores = works("evaluate", trained, "--count", 4)
    assert "wer" in scores and "cer" in scores
    works("inspect", trained, "alignment", path, "--transcript", text, "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_server_aligns_a_recording_in_a_request(speech, recording):
    path, text, sound = recording
    declared = system("speech")
    served = Served("keys", declared, speech, verbs_of(declared), Origin("keys"))
    client = TestClient(make_app(Models({"keys": served})), base_url="http://127.0.0.1")
    encoded = base64.b64encode(path.read_bytes()).decode()
    (result,) = client.post("/align", json={"sounds": encoded, "text": text}).json()["results"]
    words = [word for segment in result["segments"] for word in segment["words"]]
    expected = speech.align(sound.sound().samples, text)
    assert [word["word"] for word in words] == [word.text for word in expected]
    assert [word["start"] for word in words] == pytest.approx([word.start for word in expected], abs=0.01)
    for fields, fault in [
        ({"sounds": encoded}, 'the key "text" is missing'),
        ({"sounds": [encoded] * 2, "text": text}, "got 2 recordings, expected the one in which the text is said"),
        ({"sounds": encoded, "text": "<unk>"}, "outside this model's vocabulary"),
        ({"sounds": "WAV", "text": text}, "expected the bytes of a sound in base64"),
    ]:
        answer = client.post("/align", json=fields)
        assert answer.status_code == 400 and fault in answer.json()["error"]


def test_faults_are_one_line(trained, recording, tmp_path):
    path, *_ = recording
    assert "the text has 'X', outside this model's vocabulary" in fails("align", trained, path, "123x")
    assert "a text of 239 tokens needs 239 frames, but the sound has" in fails("align", trained, path, "12 " * 80)
    assert "got 2 recordings" in fails("align", trained, path, path, "123")
    assert "there is no such sound" in fails("transcribe", trained, tmp_path / "no.wav")
    assert "expected seconds such as 60-120" in fails("transcribe", trained, path, "--clip", "9-3")


def test_a_decoder_learns_beside_ctc(tmp_path, recording):
    changes = [*SMALL, "model.decoder_layers=1", "train.monitor=decoder_wer"]
    events = list(formers.train("speech", changes, run=tmp_path / "run"))
    assert "decoder_wer" in next(event.metrics for event in events if type(event).__name__ == "Evaluated")
    speech = formers.load(tmp_path / "run")
    model = speech.model
    samples = recording[2].sound().samples
    features, lengths = speech.extractor([samples])
    with torch.no_grad():
        read = speech.read(features, lengths)
        tokens = torch.tensor([[speech.blank, 3, 4, 5]])
        whole = model.decode(tokens, read.memory)
        cache = model.begin(read.memory, read.frames, capacity=4)
        steps = [model.extend(tokens[:, i : i + 1], cache) for i in range(4)]
        torch.testing.assert_close(torch.stack(steps, 1), whole, atol=1e-5, rtol=0)
        assert len(speech.dictated(read)) == 1


def test_a_model_that_hears_nothing_costs_what_is_declared():
    """Against the loss of the same distribution in every frame, at every share of the blank."""
    lengths, targets, counts = torch.tensor([9, 14]), torch.tensor([1, 2, 1, 3, 1]), torch.tensor([2, 3])
    floor = deaf(lengths, targets, counts, 5, 4)
    losses = []
    for share in np.linspace(0.05, 0.99, 95):
        frame = torch.tensor([1e-9, 3, 1, 1, 0]) / 5 * (1 - share)
        frame[4] = share
        rows = frame.log().float().expand(14, 2, 5)
        losses.append(float(F.ctc_loss(rows, targets, lengths, counts, 4, reduction="sum")) / 5)
    assert floor.loss == pytest.approx(min(losses), rel=0.03) and 0.3 <= floor.blank <= 0.98


def test_a_run_that_is_stuck_says_why(tmp_path, caplog):
    changes = [*SMALL, "train.steps=4", "train.rate=1e-7", "train.warmup=1"]
    list(formers.train("speech", changes, run=tmp_path / "run"))
    assert "that of a model that hears nothing" in caplog.text and "of the frames are blank" in caplog.text
    assert "frames beside" in caplog.text and "Try in this order" in caplog.text
