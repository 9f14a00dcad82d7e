"""Which pictures of a corpus are pictures of a benchmark: re-encoded, resized or slightly cropped.

Two steps, so that a perceptual hash need not be both tolerant and sure.
1. *Candidates.* 64-bit DCT hash: the signs, against their median, of the 8 x 8 lowest frequencies of a 32 x 32
   greyscale, without the mean. Each benchmark picture is hashed whole and with `CROPPED` cut off its sides in all 16
   combinations, so that a cropped copy finds it. The `CANDIDATES` nearest pictures, at a Hamming distance of at
   most `FARTHEST`, go on.
2. *Alignment.* The candidate is shifted and stretched onto the picture (Lucas-Kanade on a pyramid, 4 parameters, gain
   and offset fitted too), and what still differs decides. Copies differ everywhere a little, other pictures somewhere
   much; so the residual is the largest mean difference of any 8 x 8 block of 64 x 64, in units of the contrast.

The hash alone does not do on drawings: the micro world's pictures are white paper with thin lines. Figures in
`test_audit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CROPPED = 0.05
CANDIDATES = 5
FARTHEST = 18
"""Bits of 63. Of copies with up to 6 % cut off each side, 99 % are nearer."""
SIDE = 64
LEVELS = ((16, 6), (32, 5), (64, 5))
"""Side of the pyramid's levels, and steps taken on each."""
LARGEST_STRETCH = 0.2
BLOCK = 8
FLAT = 0.02
"""Contrast (standard deviation of the greyscale, 0..1) under which a picture is taken to have this much."""


class Twin(NamedTuple):
    """A benchmark picture that a picture of the corpus is a copy of."""

    name: str
    """The benchmark picture's."""
    bits: int
    """Hamming distance of the hashes."""
    residual: float
    """What differs after alignment; 0 for the same picture."""


@dataclass(frozen=True)
class Prints:
    """Benchmark pictures as they are searched for."""

    names: tuple[str, ...]
    hashes: NDArray[np.uint8]
    """[pictures x 16, 8]: of each picture, whole and with its sides cut."""
    grays: NDArray[np.uint8]
    """[pictures, 64, 64]."""

    @cached_property
    def _index(self) -> Any:
        import faiss

        index = faiss.IndexBinaryFlat(64)
        index.add(self.hashes)
        return index

    def candidates(self, image: Image.Image) -> list[tuple[int, int]]:
        """Nearest pictures as (number, bits), nearest first."""
        if not self.names:
            return []
        variants = len(self.hashes) // len(self.names)
        count = min(len(self.hashes), 4 * CANDIDATES * variants)
        bits, found = self._index.search(phash(image)[None], count)
        nearest: dict[int, int] = {}
        for distance, number in zip(bits[0].tolist(), (found[0] // variants).tolist(), strict=True):
            if distance <= FARTHEST:
                nearest.setdefault(number, distance)
        return list(nearest.items())[:CANDIDATES]

    def twin(self, image: Image.Image, most: float) -> Twin | None:
        """The benchmark picture that this one is a copy of, by a residual of at most `most`; None if of none."""
        seen = greyscale(image, SIDE)
        twins = [
            Twin(self.names[number], bits, residual(seen, self.grays[number] / 255))
            for number, bits in self.candidates(image)
        ]
        best = min(twins, key=lambda twin: twin.residual, default=None)
        return best if best is not None and best.residual <= most else None


def prints_of(pictures: Iterable[tuple[str, Image.Image]]) -> Prints:
    """What is needed to find copies of named pictures."""
    import numpy as np

    names, hashes, grays = [], [], []
    for name, image in pictures:
        names.append(name)
        hashes += [phash(part) for part in _with_cut_sides(image)]
        grays.append(np.rint(greyscale(image, SIDE) * 255).astype(np.uint8))
    return Prints(
        tuple(names),
        np.array(hashes, np.uint8).reshape(-1, 8),
        np.array(grays, np.uint8).reshape(-1, SIDE, SIDE),
    )


def phash(image: Image.Image) -> NDArray[np.uint8]:
    """64 bits, packed into 8 bytes: low frequencies above their median. The last bit is 0."""
    import numpy as np
    from scipy.fft import dctn

    low = dctn(greyscale(image, 32), norm="ortho")[:8, :8].ravel()[1:]
    return np.packbits(np.append(low > np.median(low), False))


def greyscale(image: Image.Image, side: int) -> NDArray[np.float64]:
    """[side, side] in 0..1, whatever the picture's proportions."""
    import numpy as np
    from PIL import Image as Pillow

    return np.asarray(image.convert("L").resize((side, side), Pillow.Resampling.LANCZOS), np.float64) / 255


def residual(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How much differs where it differs most, once `other` is shifted, stretched and toned onto `one`: 0 and more."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    warp = np.zeros(4)
    for side, steps in LEVELS:
        fixed, moving = _shrunk(one, side), _shrunk(other, side)
        for _ in range(steps):
            warp = _improved(warp, fixed, moving)
    moved, inside = _warped(other, warp)
    difference = gaussian_filter(_toned(moved, one, inside) - one, 0.7) * inside
    blocks = np.abs(difference).reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3))
    return float(blocks.max() / max(one.std(), FLAT))


def _with_cut_sides(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    for left, top, right, bottom in product((0, CROPPED), repeat=4):
        yield image.crop(
            (round(left * width), round(top * height), round(width * (1 - right)), round(height * (1 - bottom)))
        )


def _shrunk(gray: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    step = SIDE // side
    return gray.reshape(side, step, side, step).mean(axis=(1, 3))


def _axis(side: int) -> NDArray[np.float64]:
    """The pixels' centres, in -1..1."""
    import numpy as np

    return (np.arange(side) * 2 + 1) / side - 1


def _warped(gray: NDArray[np.float64], warp: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The picture sampled at (1 + s) x + t in both directions, and where that lies inside of it."""
    import numpy as np

    down, across = ((1 + warp[k]) * _axis(len(gray)) + warp[k + 1] for k in (0, 2))
    inside = (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)
    return _between(down) @ gray @ _between(across).T, inside


def _between(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """[places, pixels]: the weights of linear interpolation along one axis; beyond the edge, the edge."""
    import numpy as np

    side = len(places)
    at = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side)))
    return weights


def _toned(moved: NDArray[np.float64], fixed: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """With the gain (0.7 to 1.4) and offset that fit best."""
    import numpy as np

    a, b = moved[inside], fixed[inside]
    spread = a.var()
    gain = np.clip(((a - a.mean()) * (b - b.mean())).mean() / spread, 0.7, 1.4) if spread > 0 else 1.0
    toned: NDArray[np.float64] = gain * (moved - a.mean()) + b.mean()
    return toned


def _improved(
    warp: NDArray[np.float64], fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One Gauss-Newton step of the four parameters, kept within `LARGEST_STRETCH`."""
    import numpy as np

    moved, inside = _warped(moving, warp)
    moved = _toned(moved, fixed, inside)
    along_y, along_x = np.gradient(moved, 2 / len(fixed))
    axis = _axis(len(fixed))
    slopes = np.stack([along_y * axis[:, None], along_y, along_x * axis, along_x], axis=-1)[inside]
    normal = slopes.T @ slopes
    normal += np.eye(4) * (1e-6 + 1e-3 * np.trace(normal) / 4)
    step = np.linalg.solve(normal, slopes.T @ (fixed - moved)[inside])
    bounded: NDArray[np.float64] = np.clip(warp + step, -LARGEST_STRETCH, LARGEST_STRETCH)
    return bounded
