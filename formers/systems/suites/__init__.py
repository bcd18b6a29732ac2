"""Evaluation suites: how the papers measure what an encoder has learned, on the sets that are at hand.

`sets` finds and reads them; `likeness` (STS), `transfer` (SentEval) and `understanding` (GLUE-like) measure.
"""
