"""The three published ways of paying a role.

`paper` follows the formulas of Active-Zero (arXiv 2602.11241), `repo` its published code where the two differ, and
`safe` is the paper's difficulty under a rule that never pays below zero for malformed output: paying -0.9 for it drove
validity to zero in a sister project (SSP), and multiplying difficulty by validity raised it from 30.6 to 75.5 % (VHG).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

Preset = Literal["paper", "repo", "safe"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
