"""Adapter folders: LoRA as the library peft writes it, heads that learn beside it, other changes in our own format."""
