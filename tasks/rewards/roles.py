"""Rewards of the three roles, from the measurements of each output.

All sequences are aligned: entry k belongs to output k. An agreement of None means that nothing could be asked: no query
or question could be parsed, or no image was found.

| preset | Searcher and Questioner | Solver |
|---|---|---|
| `paper` | difficulty - penalties | accuracy |
| `repo` | 0.9 difficulty + 0.1 format - penalties; difficulty -1 without an agreement | 0.9 accuracy + 0.1 boxed |
| `safe` | 0.9 difficulty + 0.1 format + (1 - penalty) for each penalty; 0 if malformed | as `repo`; 0 if malformed |
| `window` | as `safe`, with difficulty times validity | as `safe` |

Penalties: text and image repetition for the Searcher (Active-Zero, section 3); text repetition, and optionally the
history penalty, for the Questioner.

Departures: the paper does not define the reward of an output without a question; here its difficulty is 0 under
`paper`, as if the Solver had been certain. `safe` adds 1 - penalty where the others subtract the penalty: the rewards
of well-formed outputs differ by as much, but none is below that of a malformed output. (With subtracted penalties,
eight queries that find pictures of one kind get about -1 each, and the one that cannot be parsed is the best of its
group.)
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
    validity: npt.ArrayLike = 1.0,
) -> FloatArray:
    """The Searcher's rewards, float64 [outputs]: difficulty of the question about the retrieved image, minus penalties.

    `agreements`: the Solver's agreement on that question, 0..1; None if nothing could be asked. `formats`: whether the
    output follows the Searcher's format. `text_repetition`, `image_repetition`: penalties, 0..1. `validity`: factor of
    the difficulty, 0..1, which the preset `window` has.
    """
    penalties = [_aligned(text_repetition, len(agreements)), _aligned(image_repetition, len(agreements))]
    return _with_penalties(agreements, formats, penalties, preset, validity)


def questioner_rewards(
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    text_repetition: npt.ArrayLike,
    preset: Preset = "repo",
    history_penalty: npt.ArrayLike | None = None,
    validity: npt.ArrayLike = 1.0,
) -> FloatArray:
    """The Questioner's rewards, float64 [outputs]: difficulty of the question, minus penalties.

    Arguments as for `searcher_rewards`. `history_penalty`: similarity to questions of earlier rounds, 0..1.
    """
    given = [text_repetition] if history_penalty is None else [text_repetition, history_penalty]
    penalties = [_aligned(penalty, len(agreements)) for penalty in given]
    return _with_penalties(agreements, formats, penalties, preset, validity)


def solver_rewards(correct: Sequence[bool], boxed: Sequence[bool], preset: Preset = "repo") -> FloatArray:
    """The Solver's rewards, float64 [outputs]: the answer equals the pseudo-label, and (but in `paper`) is boxed."""
    accuracy, format_ = _aligned(correct, len(correct)), _aligned(boxed, len(correct))
    if preset == "paper":
        return accuracy
    reward = (1 - FORMAT_WEIGHT) * accuracy + FORMAT_WEIGHT * format_
    return reward if preset == "repo" else np.where(format_ > 0, reward, 0.0)


def _with_penalties(
    agreements: Sequence[float | None],
    formats: Sequence[bool],
    penalties: Sequence[FloatArray],
    preset: Preset,
    validity: npt.ArrayLike,
) -> FloatArray:
    """Rewards of the Searcher and the Questioner; the table above has the formulas."""
    answered = np.array([agreement is not None for agreement in agreements], dtype=bool)
    difficulties = difficulty([0.0 if agreement is None else agreement for agreement in agreements], preset)
    difficulties = difficulties * np.asarray(validity, dtype=np.float64)
    format_ = _aligned(formats, len(agreements))
    total_penalty: FloatArray = np.sum(penalties, axis=0)
    if preset == "paper":
        return difficulties - total_penalty
    if preset == "repo":
        return (1 - FORMAT_WEIGHT) * np.where(answered, difficulties, -1.0) + FORMAT_WEIGHT * format_ - total_penalty
    reward = (1 - FORMAT_WEIGHT) * difficulties + FORMAT_WEIGHT * format_ + len(penalties) - total_penalty
    return np.where(answered & (format_ > 0), reward, 0.0)


def _aligned(values: npt.ArrayLike, count: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"expected one value for each of {count} outputs, got shape {array.shape}")
    return array
