"""Models from GGUF files (llama.cpp): the container, its tensors as a family of ours, its tokenizer."""
