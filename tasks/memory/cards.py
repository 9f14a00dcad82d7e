"""Cards by name, with the memory that PyTorch reports for them."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.settings.errors import UserError

GIB = 1 << 30


@dataclass(frozen=True)
class Card:
    """One GPU, or the main memory of a machine without one."""

    name: str
    total: int
    """Bytes of memory."""
    is_gpu: bool = True


@dataclass(frozen=True)
class Cluster:
    """Cards of one kind, on one machine or several."""

    card: Card
    cards: int = 1


CARDS = {
    "rtx3090-24": 23.6,
    "rtx4090-24": 23.5,
    "a100-40": 39.4,
    "l40s-48": 44.4,
    "a6000-48": 47.4,
    "a100-80": 79.2,
    "h100-80": 79.2,
    "h200-141": 139.8,
}
"""GiB of `torch.cuda.mem_get_info()[1]`: less than the figure in the name, which counts 10^9 bytes or what the driver
keeps."""


def card_named(text: str) -> Card:
    """The card of `--gpu`: a name such as `h100-80`, or a number of GiB. UserError for any other text."""
    if text.lower() in CARDS:
        return Card(text.lower(), round(CARDS[text.lower()] * GIB))
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise UserError(f"--gpu {text} is no card: give a number of GiB, or one of {', '.join(CARDS)}.")
    return Card(f"{size:g} GiB", round(size * GIB))
