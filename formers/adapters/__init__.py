"""Fine-tune a few weights of any model: LoRA, biases, or only what comes last."""
