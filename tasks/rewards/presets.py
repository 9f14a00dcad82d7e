"""Reward presets.

- `paper` follows the formulas of Active-Zero (arXiv 2602.11241).
- `repo` follows its published code, where paper and code differ.
- `safe` has the paper's difficulty, and a reward of 0 for malformed output, the least of all rewards. A reward of -0.9
  for malformed output drove validity to zero in a sister project (SSP).
- `window` is `safe` with a difficulty that pays for what trains: 1 inside the filter's window, falling linearly to 0
  outside, times validity, and 0 for a tie, which has no label. Reason: the other difficulties peak at an agreement of
  1/2, and the filter keeps what lies higher (0.6 to 0.9 in the default profile). In a default round the correlation of
  `safe`'s difficulty with "lies in the window" is -0.31 to -0.34, so it pays for questions that are thrown away.

Validity is 1 where the majority answer equals the Questioner's own answer, and 1/2 where it does not. Neither the paper
nor its code has it: it is an addition of ours to `window` alone, after VHG, where difficulty multiplied by validity
raised the share of valid questions from 30.6 to 75.5 %. In `safe` validity is that of the format: 0 or 1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class AgreementWindow:
    """The preset `window` with the ends of the filter's window, both included: 0 <= low <= high <= 1."""

    low: float
    high: float


PresetName = Literal["paper", "repo", "safe", "window"]
Preset = PresetName | AgreementWindow
"""The preset `window` stands by its name alone where its ends do not matter."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
