"""Copy detection: which pictures of a corpus are benchmark pictures, re-encoded, resized or slightly cropped.

Two steps, because one perceptual hash cannot be both tolerant and sure.
1. *Candidates.* The 64-bit DCT hash has one sign against the median for each of the 8 x 8 lowest frequencies of a
   32 x 32 greyscale, without the mean. Each benchmark picture is hashed whole and in all 16 combinations of `CROPPED`
   cut off its sides, so that a cropped copy finds it. The `CANDIDATES` nearest pictures within a Hamming distance of
   `MAX_BITS` go to the next step.
2. *Alignment.* The candidate is shifted and stretched onto the picture (Lucas-Kanade on a pyramid, 4 parameters; gain
   and offset are fitted only during alignment), and the remaining difference decides. Copies differ a little
   everywhere; other pictures differ strongly somewhere, or in tint. So two figures must be small: the *residual*, the
   largest mean difference of any 8 x 8 block of the 64 x 64 greyscale in units of its contrast, and the *shade*, the
   70 % quantile of the colour difference (largest channel, blurred, so that JPEG's coarse colours do not count).

The limits were measured on the micro world, whose drawings (thin lines on tinted paper, a few figures) no hash can tell
apart: at 255 bits and 0.5 % false alarms the hash alone found 1 % of copies with up to 2 % cut off their sides. With
the 624 held-out pictures as benchmark, 79 of 80 copies (JPEG at quality 30, half size, up to 6 % cut off and
re-encoded) had a residual under 0.24 and a shade under 0.016; of 400 other pictures 27 had such a residual (the same
clock on other paper), but none such a shade.
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
MAX_BITS = 18
"""Largest Hamming distance of a candidate, of 63 bits. Copies with up to 6 % cut off each side have at most 13 in 99 of
100 cases."""
MAX_RESIDUAL = 0.24
"""Largest residual of a copy."""
MAX_SHADE = 0.017
"""Largest shade of a copy: 4 of 255 steps."""
BLUR, SHADE_QUANTILE = 3.0, 0.7
MIN_CORRELATION = 0.7
"""Smallest correlation after a level of the pyramid; below it alignment is given up."""
SIDE = 64
LEVELS = ((16, 6), (32, 5), (64, 5))
"""Side of each level of the pyramid, and Gauss-Newton steps on it."""
MAX_WARP = 0.2
BLOCK = 8
MIN_CONTRAST = 0.02
"""Smallest contrast (standard deviation of the greyscale, 0..1) that the residual is divided by."""


class CopyMatch(NamedTuple):
    """A benchmark picture that a picture of the corpus is a copy of."""

    name: str
    """The benchmark picture's name."""
    bits: int
    """Hamming distance of the hashes."""
    residual: float
    """Remaining difference after alignment; 0 for the same picture."""
    shade: float
    """Colour difference that most of the picture stays under, 0..1."""


@dataclass(frozen=True)
class CopyDetector:
    """Finds copies of n benchmark pictures."""

    names: tuple[str, ...]
    hashes: NDArray[np.uint8]
    """[16 n, 8]: each picture whole and with its sides cut."""
    thumbnails: NDArray[np.uint8]
    """[n, 64, 64, 3]: colours."""

    @classmethod
    def of(cls, pictures: Iterable[tuple[str, Image.Image]]) -> CopyDetector:
        """The detector of copies of named pictures."""
        import numpy as np

        names, hashes, thumbnails = [], [], []
        for name, image in pictures:
            names.append(name)
            hashes += [phash(part) for part in _with_cut_sides(image)]
            thumbnails.append(np.rint(colours(image, SIDE) * 255).astype(np.uint8))
        return cls(
            tuple(names),
            np.array(hashes, np.uint8).reshape(-1, 8),
            np.array(thumbnails, np.uint8).reshape(-1, SIDE, SIDE, 3),
        )

    def match(
        self, image: Image.Image, max_residual: float = MAX_RESIDUAL, max_shade: float = MAX_SHADE
    ) -> CopyMatch | None:
        """The benchmark picture that `image` is a copy of, by the smallest residual. None if it is no copy."""
        pixels = colours(image, SIDE)
        matches = [
            CopyMatch(self.names[number], bits, *differences(pixels, self.thumbnails[number] / 255))
            for number, bits in self.candidates(image)
        ]
        copies = [match for match in matches if match.residual <= max_residual and match.shade <= max_shade]
        return min(copies, key=lambda match: match.residual, default=None)

    def candidates(self, image: Image.Image) -> list[tuple[int, int]]:
        """(number, Hamming distance) of the benchmark pictures with the nearest hashes, nearest first."""
        if not self.names:
            return []
        variants = len(self.hashes) // len(self.names)
        count = min(len(self.hashes), 4 * CANDIDATES * variants)
        bits, found = self._index.search(phash(image)[None], count)
        nearest: dict[int, int] = {}
        for distance, number in zip(bits[0].tolist(), (found[0] // variants).tolist(), strict=True):
            if distance <= MAX_BITS:
                nearest.setdefault(number, distance)
        return list(nearest.items())[:CANDIDATES]

    @cached_property
    def _index(self) -> Any:
        import faiss

        index = faiss.IndexBinaryFlat(64)
        index.add(self.hashes)
        return index


def phash(image: Image.Image) -> NDArray[np.uint8]:
    """[8] bytes with one bit for each low frequency: 1 if above the median. The last bit is 0."""
    import numpy as np
    from scipy.fft import dctn

    low = dctn(greyscale(image, 32), norm="ortho")[:8, :8].ravel()[1:]
    return np.packbits(np.append(low > np.median(low), False))


def greyscale(image: Image.Image, side: int) -> NDArray[np.float64]:
    """[side, side] in 0..1; the picture is stretched to a square."""
    return _resized(image.convert("L"), side)


def colours(image: Image.Image, side: int) -> NDArray[np.float64]:
    """[side, side, 3] in 0..1; the picture is stretched to a square."""
    return _resized(image.convert("RGB"), side)


def differences(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> tuple[float, float]:
    """Residual and shade of two pictures [64, 64, 3], `moving` aligned onto `fixed`; infinite if alignment fails."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    gray = fixed.mean(axis=2)
    warp = _alignment(gray, moving.mean(axis=2))
    if warp is None:
        return np.inf, np.inf
    channels = [_warped(moving[..., channel], warp) for channel in range(3)]
    inside = channels[0][1]
    moved = np.stack([channel for channel, _ in channels], axis=2)
    apart = (moved - fixed) * inside[..., None]
    blocks = np.abs(gaussian_filter(apart.mean(axis=2), 1)).reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK)
    tints = np.abs(gaussian_filter(apart, (BLUR, BLUR, 0))).max(axis=2)
    residual = blocks.mean(axis=(1, 3)).max() / max(gray.std(), MIN_CONTRAST)
    return float(residual), float(np.quantile(tints[inside], SHADE_QUANTILE))


def _alignment(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """[4] The warp of `moving` onto `fixed`: stretch and shift down, then across. None if alignment fails."""
    import numpy as np

    warp = np.zeros(4)
    for side, steps in LEVELS:
        small_fixed, small_moving = _shrunk(fixed, side), _shrunk(moving, side)
        for _ in range(steps):
            warp = _improved(warp, small_fixed, small_moving)
        moved, inside = _warped(small_moving, warp)
        if _correlation(moved[inside], small_fixed[inside]) < MIN_CORRELATION:
            return None
    return warp


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Correlation in -1..1; 1 if one picture is flat, so that blank pictures are compared by their shade."""
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1e-9 else 1.0


def _resized(image: Image.Image, side: int) -> NDArray[np.float64]:
    import numpy as np
    from PIL import Image as Pillow

    return np.asarray(image.resize((side, side), Pillow.Resampling.LANCZOS), np.float64) / 255


def _with_cut_sides(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    for left, top, right, bottom in product((0, CROPPED), repeat=4):
        yield image.crop(
            (round(left * width), round(top * height), round(width * (1 - right)), round(height * (1 - bottom)))
        )


def _shrunk(gray: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    step = SIDE // side
    means: NDArray[np.float64] = gray.reshape(side, step, side, step).mean(axis=(1, 3))
    return means


def _axis(side: int) -> NDArray[np.float64]:
    """[side] Positions of the pixels' centres, in -1..1."""
    import numpy as np

    return (np.arange(side) * 2 + 1) / side - 1


def _warped(gray: NDArray[np.float64], warp: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The picture sampled at (1 + s) x + t in both directions, and a mask of the samples that lie inside it."""
    import numpy as np

    down, across = ((1 + warp[k]) * _axis(len(gray)) + warp[k + 1] for k in (0, 2))
    inside = (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)
    return _interpolation(down) @ gray @ _interpolation(across).T, inside


def _interpolation(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """[places, pixels] Weights of linear interpolation along one axis; beyond the edge, the edge pixel."""
    import numpy as np

    side = len(places)
    at = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side)))
    return weights


def _toned(moved: NDArray[np.float64], fixed: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`moved` with the gain (0.7 to 1.4) and offset that fit `fixed` best."""
    import numpy as np

    a, b = moved[inside], fixed[inside]
    spread = a.var()
    gain = np.clip(((a - a.mean()) * (b - b.mean())).mean() / spread, 0.7, 1.4) if spread > 0 else 1.0
    toned: NDArray[np.float64] = gain * (moved - a.mean()) + b.mean()
    return toned


def _improved(
    warp: NDArray[np.float64], fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The warp after one Gauss-Newton step of its four parameters, each clipped to `MAX_WARP`."""
    import numpy as np

    moved, inside = _warped(moving, warp)
    moved = _toned(moved, fixed, inside)
    along_y, along_x = np.gradient(moved, 2 / len(fixed))
    axis = _axis(len(fixed))
    slopes = np.stack([along_y * axis[:, None], along_y, along_x * axis, along_x], axis=-1)[inside]
    normal = slopes.T @ slopes
    normal += np.eye(4) * (1e-6 + 1e-3 * np.trace(normal) / 4)
    step = np.linalg.solve(normal, slopes.T @ (fixed - moved)[inside])
    bounded: NDArray[np.float64] = np.clip(warp + step, -MAX_WARP, MAX_WARP)
    return bounded
