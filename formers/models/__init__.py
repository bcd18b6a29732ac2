"""Whole networks made of the shared blocks: tensors in, tensors out."""
