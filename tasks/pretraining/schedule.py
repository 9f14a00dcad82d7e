"""The learning-rate schedule that the small pretrainings share."""

from __future__ import annotations

import math


def warmup_cosine(step: int, warmup: int, horizon: int) -> float:
    """Share of the peak learning rate: a linear warm-up of `warmup` steps, then half a cosine to zero at `horizon`."""
    return min(1.0, (step + 1) / max(1, warmup)) * 0.5 * (1 + math.cos(math.pi * step / horizon))
