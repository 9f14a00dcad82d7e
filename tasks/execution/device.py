"""Which device `auto` stands for."""

from __future__ import annotations


def device_of(wanted: str) -> str:
    """`auto` takes a GPU where there is one, else the CPU; whatever else was wanted is that."""
    import torch

    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"
