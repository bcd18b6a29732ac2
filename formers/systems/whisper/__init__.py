"""Whisper: speech of any length written down, translated, with times."""
