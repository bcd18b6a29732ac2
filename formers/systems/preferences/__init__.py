"""Preferences: a language model learns which of two answers to prefer (Rafailov et al. 2023)."""

from formers.systems.measure import HELP
from formers.systems.system import System, Verb

SYSTEM = System(
    name="preferences",
    title="Preferences: chats that learn which of two answers is better",
    sizes="CausalSizes",
    data={"train": "builtin:quiz-preferences", "held_out": 200},
    rows="PreferenceRows",
    task="PreferenceConfig",
    open="systems.language_model:open_language",
    recipe="language/lora",
    example="chat {}",
    verbs=(Verb("evaluate", HELP, "systems.language_scores:EvaluateLanguage"),),
    lessons="lessons",
    scores={
        "loss": "preference loss, and the likelihood where it has a weight",
        "preference": "loss of DPO alone, nats",
        "right": "share of pairs whose better answer gained more (reward accuracy)",
        "margin": "by how much, times beta",
        "likelihood": "of the better answer, nats per token",
    },
)
