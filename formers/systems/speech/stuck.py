"""Why a CTC run does not learn: what it says, what saying nothing costs, and what there is to change.

A network learns first to say the blank everywhere, since most frames are blank in any alignment; from there its way
out is slow, and under some settings never found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SHARES = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)  # of blank that are tried
TIGHT = 2.0  # frames for a token, below which there is little room for blanks
STUCK = 0.9  # of the loss of a model that hears nothing


@dataclass(frozen=True)
class Deaf:
    """The best that can be said without listening: the same in every frame."""

    loss: float
    """Per token, nats."""
    blank: float
    """The share of the blank."""


def deaf(lengths: Tensor, targets: Tensor, counts: Tensor, vocab: int, blank: int) -> Deaf:
    """What says the blank so often and else tokens by how frequent they are, at the share of the blank that is best.

    lengths, counts: (clips,) frames and tokens; targets: the tokens of all clips.
    """
    frequent = torch.bincount(targets, minlength=vocab).double() + 1e-6
    frequent[blank] = 0
    frequent /= frequent.sum()
    best = Deaf(float("inf"), 0.0)
    for share in SHARES:
        frame = (1 - share) * frequent
        frame[blank] = share
        log_probs = frame.log().float().expand(int(lengths.max()), len(lengths), vocab)
        total = F.ctc_loss(log_probs, targets, lengths, counts, blank, reduction="sum", zero_infinity=True)
        best = min(best, Deaf(float(total) / int(counts.sum()), share), key=lambda one: one.loss)
    return best


def explanation(loss: float, silent: float, floor: Deaf, frames: Tensor, counts: Tensor, needed: Tensor) -> str:
    """Why a loss may be stuck at the blank.

    silent: the share of frames whose likeliest token is the blank; frames, counts, needed: (clips,) how many frames
    there are, tokens, and the fewest frames that can say these.
    """
    ratio = float((frames / counts.clamp(min=1)).median())
    short = int((needed > frames).sum())
    advice = []
    if short:
        advice.append(
            f"lower model.halvings: {short:,} of {len(frames):,} clips have fewer frames than their text needs"
        )
    elif ratio < TIGHT:
        advice.append("lower model.halvings: there is hardly a frame for each token and the blanks between them")
    if silent > 0.9:
        advice.append("raise train.warmup, or lower train.rate: large steps end in the blank")
    advice.append("learn from short clips first (data.count, rows.join), or for longer: the way out takes its time")
    return (
        f"little is learned so far: {silent:.0%} of the frames are blank; the loss is {loss:.3f} per token, that of a "
        f"model that hears nothing {floor.loss:.3f} (the blank in {floor.blank:.0%} of the frames, else tokens by how "
        f"frequent they are); a clip has {int(frames.float().median())} frames "
        f"beside {int(counts.float().median())} tokens (medians). Try in this order: {'; '.join(advice)}"
    )
