"""Reward presets.

- `paper` follows the formulas of Active-Zero (arXiv 2602.11241).
- `repo` follows its published code, where paper and code differ.
- `safe` has the paper's difficulty, and a reward of 0 for malformed output, the least of all rewards. A reward of -0.9
  for malformed output drove validity to zero in a sister project (SSP); difficulty multiplied by validity raised
  validity from 30.6 to 75.5 % (VHG).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

Preset = Literal["paper", "repo", "safe"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
