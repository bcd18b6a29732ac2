"""Tokens out of a model: the loop (generate), which token (strategies), what is allowed (filters), the writer."""
