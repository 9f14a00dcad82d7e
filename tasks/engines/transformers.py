"""The transformers engine: torch in this process, or in several processes of one thread each.

Loads any vision-language model of transformers, in float32 on a CPU and bfloat16 on a GPU; `architecture` says which
run the fast way.  The weights of the adapters used last are kept
ready; `tasks.engines.decoder` says when an adapter is merged. On a CPU, `workers` processes of one thread beat one
process of many threads: the matrix products of a small model are too short to share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cachetools import LRUCache
from pydantic import Field

from tasks.engines import general
from tasks.engines.architecture import changes_tower, has_fast_way, read_config
from tasks.engines.inputs import load_processor
from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.parts import parts
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.protocol import Engine
from tasks.engines.request import Adapter, Completion, Request, by_adapter
from tasks.execution.device import device_of
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens
    from tasks.engines.decoder import Decoder

ADAPTERS = 8
"""Adapters whose weights are kept ready: a round uses three."""


class Transformers(Settings):
    """Sampling by torch in this process: nothing to install or to start."""

    kind: Literal["transformers"] = "transformers"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the weights; `auto` is float32 on a CPU (bfloat16 is slower there) and bfloat16 on a GPU."""
    device: Annotated[Literal["auto", "cpu", "cuda"], NotFingerprinted] = "auto"
    """Where the model runs; `auto` takes a GPU if there is one."""
    rows: Annotated[int, NotFingerprinted] = Field(512, ge=1)
    """Completions sampled at once. More use the processor better and take more memory."""
    threads: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """Torch threads of each process."""
    workers: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """Processes that share the requests, each with its copy of the model. More than one is for a CPU."""
    vision_cache: Annotated[float, NotFingerprinted] = Field(4.0, ge=0)
    """GiB of picture features that are cached in the host's memory, in each process."""

    @property
    def needs_gpu(self) -> bool:
        """See `EngineSettings.needs_gpu`."""
        return self.device == "cuda"

    @property
    def model_copies(self) -> int:
        """See `EngineSettings.model_copies`."""
        return self.workers

    @property
    def draws_rollouts(self) -> bool:
        """See `EngineSettings.draws_rollouts`: the trainer samples the model in training."""
        return False

    def open(self, model: str, pictures: PictureBudget) -> Engine:
        """Load the model folder `model`. `UserError` if a file is missing there."""
        check_model(Path(model))
        kind = TorchEngine if has_fast_way(read_config(model)) else GeneralEngine
        if self.workers == 1:
            return kind(self, model, pictures)
        from tasks.engines.workers import WorkerEngine

        return WorkerEngine(partial(kind, self, model, pictures), self.workers, self.rows)


class TorchEngine(Engine):
    """A model in this process."""

    def __init__(self, config: Transformers, model: str, pictures: PictureBudget) -> None:
        import torch

        from tasks.engines.inputs import VisionCache

        torch.set_num_threads(config.threads)
        self._config = config
        self._model, self._processor = load(model, device_of(config.device), config.dtype, pictures)
        self._vision = VisionCache(int(config.vision_cache * 2**30))
        self._decoders: LRUCache[Adapter | None, Decoder] = LRUCache(ADAPTERS)

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. Requests of one part, adapter and equal sampling are batched."""
        import torch

        from tasks.engines.decode import decode, encode

        results: list[list[Completion]] = [[] for _ in requests]
        with torch.inference_mode():
            for adapter, indices in parts_by_adapter(requests, self._config.rows):
                decoder = self._decoder(adapter)
                members = [requests[index] for index in indices]
                encoded = encode(self._model, self._processor, members, self._vision)
                groups = decode(decoder, self._model, encoded, members, rows=self._config.rows, on_done=on_done)
                for index, group in zip(indices, groups, strict=True):
                    results[index] = completions(self._processor, group)
        return results

    def close(self) -> None:
        """Free the model."""
        self._decoders.clear()
        del self._model, self._processor, self._vision

    def _decoder(self, adapter: Adapter | None) -> Decoder:
        """The adapter's decoder, from the cache of the `ADAPTERS` used last."""
        if adapter not in self._decoders:
            self._decoders[adapter] = self._build_decoder(adapter)
        return self._decoders[adapter]

    def _build_decoder(self, adapter: Adapter | None) -> Decoder:
        """The decoder of the base model with an adapter on it; the base model is left unchanged."""
        from tasks.engines.decoder import Decoder

        with _adapted(self._model, adapter) as model:
            return Decoder(model)


class GeneralEngine(Engine):
    """A model of any architecture in this process."""

    def __init__(self, config: Transformers, model: str, pictures: PictureBudget) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self._rows = config.rows
        self._model, self._processor = load(model, device_of(config.device), config.dtype, pictures)

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. The requests of one part and adapter go together."""
        results: list[list[Completion]] = [[] for _ in requests]
        for adapter, indices in parts_by_adapter(requests, self._rows):
            members = [requests[index] for index in indices]
            for index, group in zip(indices, self._sample(adapter, members, on_done), strict=True):
                results[index] = completions(self._processor, group)
        return results

    def close(self) -> None:
        """Free the model."""
        del self._model, self._processor

    def _sample(
        self, adapter: Adapter | None, requests: Sequence[Request], on_done: Callable[[int], None] | None
    ) -> list[list[SampledTokens]]:
        """Samples by the base model with an adapter on it; the base model is left unchanged."""
        prompts = general.encode(self._processor, requests)
        with _adapted(self._model, adapter) as model:
            return general.sample(model, prompts, requests, rows=self._rows, on_done=on_done)


def parts_by_adapter(requests: Sequence[Request], rows: int) -> Iterator[tuple[Adapter | None, list[int]]]:
    """Each part's requests of each adapter, as indices."""
    for part in parts(requests, rows):
        for adapter, members in by_adapter([requests[index] for index in part]).items():
            yield adapter, [part[member] for member in members]


@contextmanager
def _adapted(model: Any, adapter: Adapter | None) -> Iterator[Any]:
    """The model with an adapter on it, for the block. `UserError` for an adapter that changes picture features."""
    if adapter is None:
        yield model
        return
    check_adapter(adapter)
    from peft import PeftModel

    adapted: Any = PeftModel.from_pretrained(model, str(adapter.path))
    try:
        if changes_tower(name for name, _ in adapted.named_parameters() if "lora_" in name):
            raise UserError(f"the adapter {adapter.path} changes the vision tower: train the language model only")
        yield adapted
    finally:
        adapted.unload()


def load(model: str, device: str, dtype: str, pictures: PictureBudget = OWN_LIMITS) -> tuple[Any, Any]:
    """The model, frozen and in evaluation mode, and its processor. `UserError` if transformers cannot load it."""
    import torch
    from transformers import AutoModelForImageTextToText

    models: Any = AutoModelForImageTextToText
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    try:
        loaded = models.from_pretrained(model, dtype=getattr(torch, dtype), attn_implementation="sdpa")
        processor = load_processor(model, pictures)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"cannot load the model {model}: {first_line(error)}") from error
    return loaded.to(device).eval().requires_grad_(False), processor


def completions(processor: Any, samples: Iterable[SampledTokens]) -> list[Completion]:
    """Samples as text, without end tokens."""
    samples = list(samples)
    ids = [sample.ids[:-1] if sample.finished else sample.ids for sample in samples]
    texts = processor.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [Completion(text, len(sample.ids), sample.finished) for text, sample in zip(texts, samples, strict=True)]
