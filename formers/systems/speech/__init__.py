"""Speech: a Conformer writes down what is said, a letter or a blank for every few hundredths of a second."""

from formers.systems.looks import HERE
from formers.systems.measure import HELP
from formers.systems.system import Look, System, Verb

SYSTEM = System(
    name="speech",
    title="Speech: Conformers that write down what is said (CTC)",
    models=("Conformer", "HybridConformer"),
    sizes="systems.speech.sizes:ConformerSizes",
    data={"train": "builtin:dialled"},
    rows="ClipRows",
    task="CtcConfig",
    open="open_speech",
    example="transcribe {} recording.wav",
    verbs=(
        Verb(
            "transcribe",
            "Write down what is said: text, subtitles, times of words.",
            "TranscribeFrames",
            endings=(".txt", ".srt", ".vtt", ".tsv", ".json", ".jsonl"),
        ),
        Verb("align", "When each word of a given text is said.", "Align", endings=(".txt", ".srt", ".vtt", ".tsv")),
        Verb("evaluate", HELP, "EvaluateClips"),
    ),
    looks=(
        Look("alignment", "The text over the spectrogram, and how sure each frame is.", "FramesLook"),
        Look("parameters", "Every weight, and how many numbers there are.", f"{HERE}:PlainLook", f"{HERE}:parameters"),
        Look("curve", "The learning curve of a run.", f"{HERE}:PlainLook", f"{HERE}:curve", opens=False),
    ),
    scores={
        "loss": "CTC loss per token, nats",
        "wer": "word error rate: words that are wrong, missing or too many, for each that was said",
        "cer": "the same of characters",
        "exact": "share of recordings without a fault",
        "decoder_wer": "word error rate of the decoder beside CTC",
    },
)
