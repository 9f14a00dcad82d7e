"""Which device the setting `auto` means."""

from __future__ import annotations


def device_of(setting: str) -> str:
    """`auto` is a GPU where there is one, else the CPU; any other setting is the device itself."""
    import torch

    if setting != "auto":
        return setting
    return "cuda" if torch.cuda.is_available() else "cpu"
