"""Rewards of the three roles, from what was measured of each output.

All sequences are aligned: entry k belongs to output k. An agreement of None says that the output held nothing to ask:
no query or question could be parsed, or no image was found.

| preset | Searcher and Questioner | Solver |
|---|---|---|
| `paper` | difficulty - shares | accuracy |
| `repo` | 0.9 difficulty + 0.1 format - shares; difficulty -1 without an agreement | 0.9 accuracy + 0.1 boxed |
| `safe` | 0.9 difficulty + 0.1 format + 1 - share, each; 0 if malformed | `repo`; 0 if malformed |

The shares are text and image repetition for the Searcher (Active-Zero, section 3) and text repetition for the
Questioner. Departures: the paper does not say what an output without a question earns; here its difficulty is 0 under
`paper`, as if the Solver had been certain. `safe` pays for being different where the others fine for being alike: among
well-formed outputs the differences are the same, but none of them earns less than a malformed one. (With fines, eight
queries that find pictures of one kind earn about -1 each, and the one that cannot be parsed is the best of its group.)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.rewards.difficulty import difficulty
from tasks.rewards.presets import FloatArray, Preset

FORMAT_WEIGHT = 0.1


def searcher_rewards(
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    text_repetition: npt.ArrayLike,
    image_repetition: npt.ArrayLike,
    preset: Preset = "repo",
) -> FloatArray:
    """Difficulty of what the query's images let the Questioner ask, minus text and image repetition.

    `agreements`: the Solver's agreement on the question asked about the retrieved image, None where nothing could be
    asked. `formats`: whether the output follows the Searcher's format.
    """
    shares = [_aligned(text_repetition, len(agreements)), _aligned(image_repetition, len(agreements))]
    return _asker_rewards(agreements, formats, shares, preset)


def questioner_rewards(
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    text_repetition: npt.ArrayLike,
    preset: Preset = "repo",
    history_penalty: npt.ArrayLike | None = None,
) -> FloatArray:
    """Difficulty of the question, minus text repetition; arguments as for `searcher_rewards`.

    `history_penalty` (see `history_penalty`) fines, or under `safe` pays for, what earlier rounds have asked.
    """
    given = [text_repetition] if history_penalty is None else [text_repetition, history_penalty]
    return _asker_rewards(agreements, formats, [_aligned(share, len(agreements)) for share in given], preset)


def solver_rewards(correct: Sequence[bool], boxed: Sequence[bool], preset: Preset = "repo") -> FloatArray:
    """Whether the answer matches the pseudo-label, and (`repo`, `safe`) whether it ends in a box."""
    accuracy, format_ = _aligned(correct, len(correct)), _aligned(boxed, len(correct))
    if preset == "paper":
        return accuracy
    reward = (1 - FORMAT_WEIGHT) * accuracy + FORMAT_WEIGHT * format_
    return np.where(format_ > 0, reward, 0.0) if preset == "safe" else reward


def _asker_rewards(
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    shares: Sequence[FloatArray],
    preset: Preset,
) -> FloatArray:
    asked = np.array([agreement is not None for agreement in agreements], dtype=bool)
    hard = difficulty([0.0 if agreement is None else agreement for agreement in agreements], preset)
    format_ = _aligned(formats, len(agreements))
    penalty: FloatArray = np.sum(shares, axis=0)
    if preset == "paper":
        return hard - penalty
    if preset == "repo":
        return (1 - FORMAT_WEIGHT) * np.where(asked, hard, -1.0) + FORMAT_WEIGHT * format_ - penalty
    reward = (1 - FORMAT_WEIGHT) * hard + FORMAT_WEIGHT * format_ + len(shares) - penalty
    return np.where(asked & (format_ > 0), reward, 0.0)


def _aligned(values: npt.ArrayLike, count: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"expected one value for each of {count} outputs, got shape {array.shape}")
    return array
