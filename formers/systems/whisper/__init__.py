"""Whisper: speech of any length written down or translated into English, with times."""

from formers.systems.looks import EVERY
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

SYSTEM = System(
    name="whisper",
    title="Whisper: speech written down or translated, with times",
    models=("Whisper",),
    sizes="systems.whisper.sizes:WhisperSizes",
    data={"train": "builtin:dialled"},
    rows="SpeechRows",
    task="WhisperTaskConfig",
    open="open_whisper",
    example="transcribe {} speech.flac",
    verbs=(
        Verb(
            "transcribe",
            "Write down what is said: text, subtitles, times of words.",
            "Transcribe",
            endings=(".txt", ".srt", ".vtt", ".tsv", ".json", ".jsonl"),
        ),
        Verb("evaluate", HELP, "EvaluateSpeech"),
    ),
    looks=(
        Look("alignment", "Which sound each token was written from.", "AlignmentLook"),
        *(look for look in EVERY if look.name not in ("attention",)),
    ),
    scores={
        "loss": "cross-entropy per token, nats",
        "wer": "wrong, missing and additional words for each word that was said",
        "cer": "the same of characters",
    },
)
