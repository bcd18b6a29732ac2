"""What `formers transcribe` gives of files: transcripts, remarks, and what is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from formers.errors import ConfigError, DataError
from formers.systems.sound_files import Sounds
from formers.systems.system import Progress, Remark, record
from formers.systems.transcripts import Transcribed, TranscriptForm
from formers.systems.whisper.options import ListenOptions
from formers.systems.whisper.verbs import Transcribe, transcribe

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    dice = np.random.default_rng(0)
    soundfile.write(folder / "loud.wav", 0.1 * dice.standard_normal((3 * 8000, 2)), 8000)
    soundfile.write(folder / "silent.flac", np.zeros(2 * 16_000), 16_000)
    (folder / "text.wav").write_text("no sound")
    return folder


def told(transcriber, paths, form=None, **listen):
    options = Transcribe(
        sounds=Sounds.of_files(list(map(str, paths))), listen=ListenOptions(**listen), form=form or TranscriptForm()
    )
    return list(transcribe(transcriber, options))


def test_several_files(transcriber, files):
    events = told(transcriber, [files / "loud.wav", files / "silent.flac"], vad="none")
    loud, silent = (event for event in events if isinstance(event, Transcribed))
    assert loud.file.endswith("loud.wav") and silent.file.endswith("silent.flac")
    assert loud.text == loud.transcript.text and loud.language == "en" and loud.transcript.seconds == 3
    assert [event.done for event in events if isinstance(event, Progress)][-1] == 200
    keys = {"id", "start", "end", "text", "seek", "tokens", "temperature", "avg_logprob", "compression_ratio"}
    segments = json.loads(json.dumps(record(loud)))["segments"]
    assert segments and all(segment.keys() == {*keys, "no_speech_prob"} for segment in segments)


def test_silence_is_told(transcriber, files):
    events = told(transcriber, [files / "silent.flac"])
    (remark, _) = (event.text for event in events if isinstance(event, Remark))
    assert remark.endswith("silent.flac: nobody speaks (--vad none listens to all of it)")
    assert next(event for event in events if isinstance(event, Transcribed)).line() == ""


def test_transcripts_in_a_folder(transcriber, files, tmp_path):
    form = TranscriptForm(format="vtt", folder=str(tmp_path / "new"))
    told(transcriber, [files / "loud.wav"], form, vad="none")
    assert (tmp_path / "new" / "loud.vtt").read_text().startswith("WEBVTT")


def test_only_a_clip(transcriber, files):
    events = told(transcriber, [files / "loud.wav"], vad="none", clip=("1-2",))
    result = next(event for event in events if isinstance(event, Transcribed))
    assert all(1 <= segment["start"] <= segment["end"] <= 2 for segment in result.segments)


def test_what_is_refused(transcriber, files):
    with pytest.raises(DataError, match=r"text\.wav is no sound"):
        told(transcriber, [files / "text.wav"])
    with pytest.raises(ConfigError, match="so not for --words"):
        told(transcriber, [files / "loud.wav"], TranscriptForm(words=True, timestamps=False))
    with pytest.raises(ConfigError, match="so not for --batch"):
        ListenOptions(batch=2, prefix="I")
    with pytest.raises(ConfigError, match="English only"):
        told(transcriber, [files / "loud.wav"], language="fr")
    with pytest.raises(ConfigError, match='clip: got "1:00"'):
        told(transcriber, [files / "loud.wav"], clip=("1:00",))
