"""Preferences: a language model learns which of two answers to prefer (Rafailov et al. 2023)."""

from formers.systems.measure import HELP
from formers.systems.system import System, Verb

HERE = "systems.preferences"
SYSTEM = System(
    name="preferences",
    title="Preferences: chats that learn which of two answers is better",
    sizes="systems.sizes:CausalSizes",
    data={"train": "builtin:quiz-preferences", "held_out": 200},
    rows=f"{HERE}.data:PreferenceRows",
    task=f"{HERE}.task:PreferenceConfig",
    prepare=f"{HERE}.task:prepare",
    open="systems.language_model:open_language",
    recipe="language/lora",
    example="chat {}",
    verbs=(Verb("evaluate", HELP, "systems.language_scores:EvaluateLanguage", f"{HERE}.verbs:evaluate"),),
    lessons=f"{HERE}.lessons:lessons",
)
