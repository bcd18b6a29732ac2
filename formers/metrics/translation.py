"""BLEU and chrF through sacrebleu, with the signature that makes a score comparable (Post 2018); exact match."""

from __future__ import annotations

from collections.abc import Sequence

from formers.errors import ConfigError


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Corpus BLEU (13a, cased), chrF, the share of exact matches, and the sacrebleu signature of the first two."""
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ConfigError('BLEU needs the package sacrebleu: pip install "formers[metrics]"') from error
    scores, signatures = {}, {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        scores[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        signatures[name] = str(metric.get_signature())
    same = sum(h == r for h, r in zip(hypotheses, references, strict=True))
    scores["exact_match"] = same / max(1, len(references))
    return scores, signatures
