"""BLEU and chrF through sacrebleu, with the signature that makes a score comparable (Post 2018); exact match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from formers.extras import optional


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Corpus BLEU (13a, cased), chrF, the share of exact matches, and the sacrebleu signature of the first two."""
    metrics: Any = optional("sacrebleu.metrics", "metrics", "BLEU")
    scores, signatures = {}, {}
    for name, metric in (("bleu", metrics.BLEU()), ("chrf", metrics.CHRF())):
        scores[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        signatures[name] = str(metric.get_signature())
    same = sum(h == r for h, r in zip(hypotheses, references, strict=True))
    scores["exact_match"] = same / max(1, len(references))
    return scores, signatures
