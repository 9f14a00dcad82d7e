"""Difficulty of a question: how close it lies to the Solver's frontier, by the agreement of the Solver's answers.

Agreement p is the share of the m answers that equal the majority answer; answers that cannot be parsed count in m.
"""

import numpy as np
import numpy.typing as npt

from tasks.rewards.presets import AgreementWindow, FloatArray, Preset


def difficulty(agreement: npt.ArrayLike, preset: Preset = "repo") -> FloatArray:
    """1 - 2 |p - 1/2| (`paper`: the paper's uncertainty reward; `safe`) or min(p, 1 - p) (`repo`: half of it).

    Both are 0 where the Solver always or never agrees with itself, and highest at p = 1/2. `repo` halves this term but
    not the penalties, so its penalties weigh twice as much. An `AgreementWindow`: 1 inside it, p / low below it, and
    (1 - p) / (1 - high) above it. ValueError for an agreement outside 0..1, and for `window` without its ends.
    """
    p = np.asarray(agreement, dtype=np.float64)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("agreement must lie in 0..1")
    if preset == "window":
        raise ValueError("the difficulty of preset window needs the window's ends")
    if isinstance(preset, AgreementWindow):
        return _closeness(p, preset)
    return np.minimum(p, 1 - p) if preset == "repo" else 1 - 2 * np.abs(p - 0.5)


def _closeness(p: FloatArray, window: AgreementWindow) -> FloatArray:
    """1 inside the window, falling linearly to 0 at p = 0 and p = 1."""
    below, above = p < window.low, p > window.high
    rising = np.divide(p, window.low, out=np.ones_like(p), where=below)
    falling = np.divide(1 - p, 1 - window.high, out=np.ones_like(p), where=above)
    closeness: FloatArray = np.minimum(rising, falling)
    return closeness
