"""Which device the setting `auto` means, and models that are on a GPU only while they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any


def device_of(setting: str) -> str:
    """`auto` is a GPU where there is one, else the CPU; any other setting is the device itself."""
    import torch

    if setting != "auto":
        return setting
    return "cuda" if torch.cuda.is_available() else "cpu"


class Visitor:
    """A model that waits in the host's memory, and visits its device while anyone uses it."""

    def __init__(self, model: Any, device: str) -> None:
        self.model, self.device = model, device
        self._users, self._lock = 0, Lock()

    @contextmanager
    def visit(self) -> Iterator[Any]:
        """The model on its device, for the block. Threads may visit together; the last one sends the model back."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self.model.to(self.device)
        try:
            yield self.model
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self.device != "cpu":
                    self._leave()

    def _leave(self) -> None:
        """Frees the device's memory for others: PyTorch would keep it for this process's own tensors."""
        import torch

        self.model.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
