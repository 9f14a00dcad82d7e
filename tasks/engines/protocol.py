"""The two protocols of an engine: its settings, which open it, and the open engine, which samples.

A new engine is one file with both classes, and one line in the union `EngineConfig` of `tasks.engines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tasks.engines.pictures import PictureBudget
from tasks.engines.request import Completion, Request

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens


class Engine(Protocol):
    """A loaded model that samples completions.

    A completion depends on the weights (base model and adapter), on the request's prompt, picture and sampling, and on
    (seed, i), i being the completion's number. It depends on nothing else: not on other requests, their order, the
    size of a batch, the number of processes or earlier calls (the rounding of logits excepted). So any split of the
    work gives the same completions, and a resumed stage samples what a stage without interruption samples.
    """

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """Completions of each request, in order: `len(result[i]) == requests[i].n`.

        A request that the engine cannot hold gets refused completions and costs no other request anything.
        `on_done(k)` is called after k more completions. `UserError` for an adapter that the engine cannot serve.
        """
        ...

    def stream(
        self, parts: Sequence[Sequence[Request]], on_done: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[list[Completion]]]]:
        """The number and the completions of each part, as it is complete. An engine of many replicas mixes parts."""
        for number, part in enumerate(parts):
            yield number, self.generate(part, on_done)

    def close(self) -> None:
        """Free the model and end the engine's processes. A closed engine cannot be used again."""
        ...


class PolicyEngine(Engine, Protocol):
    """An engine that also draws the rollouts of a policy in training."""

    def sample(self, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """Token ids of each prompt (a picture's placeholder expanded), and its samples with log-probabilities."""
        ...

    def fits(self, request: Request) -> bool:
        """Whether the engine can read the request's prompt and write its longest completion."""
        ...

    def reload(self, folder: Path) -> None:
        """Replace the base model's weights by those in another folder of the same architecture."""
        ...


class EngineSettings(Protocol):
    """The settings of one kind of engine, a `Settings` class in a module that imports neither torch nor vLLM.

    Fields that change no completion (device, batch sizes, processes) are declared `NotFingerprinted`.
    """

    @property
    def kind(self) -> str:
        """The name that selects this engine in a YAML file: a `Literal` field with its default."""
        ...

    @property
    def needs_gpu(self) -> bool:
        """Whether the engine cannot open without a GPU."""
        ...

    @property
    def model_copies(self) -> int:
        """Copies of the model's weights that the open engine holds in memory."""
        ...

    @property
    def draws_rollouts(self) -> bool:
        """Whether the open engine is a `PolicyEngine`."""
        ...

    def open(self, model: str, pictures: PictureBudget) -> Engine:
        """Load the model folder `model`, which sees pictures within this budget.

        `UserError` if a file, a package or a device is missing."""
        ...
