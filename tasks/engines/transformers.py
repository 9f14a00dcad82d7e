"""The embedded engine: torch and transformers in this process, or in several processes of one thread each.

Loads any Qwen2.5-VL folder; float32 on a CPU, bfloat16 on a GPU. An adapter's weights are laid out once and kept, see
`tasks.engines.decoder` for when they are merged. On a CPU, `workers` processes of one thread beat one process of many
threads: the products of a small model are too short to share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tasks.engines.inputs import load_processor
from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.request import Adapter, Completion, Engine, Request, by_adapter
from tasks.execution.device import device_of
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens
    from tasks.engines.decoder import Decoder

ADAPTERS = 8
"""Adapters kept laid out: a round uses three."""


class Transformers(Settings):
    """Sampling by torch, embedded: nothing to install or to start."""

    kind: Literal["transformers"] = "transformers"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the weights; `auto` is float32 on a CPU (bfloat16 is slower there) and bfloat16 on a GPU."""
    device: Annotated[Literal["auto", "cpu", "cuda"], NotFingerprinted] = "auto"
    """Where the model runs; `auto` takes a GPU if there is one."""
    rows: Annotated[int, NotFingerprinted] = Field(512, ge=1)
    """Completions decoded at once: more use the machine better and take more memory."""
    threads: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """Torch threads of each process."""
    workers: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """Processes among which requests are split. More than one is for a CPU."""
    pictures: Annotated[int, NotFingerprinted] = Field(4096, ge=1)
    """Pictures whose features are kept, in each process."""

    def open(self, model: str) -> Engine:
        """Load the model at `model` (a folder). UserError if something is missing there."""
        check_model(Path(model))
        if self.workers == 1:
            return TorchEngine(self, model)
        from tasks.engines.workers import WorkerEngine

        return WorkerEngine(partial(TorchEngine, self, model), self.workers, self.rows)


class TorchEngine:
    """A model in this process."""

    def __init__(self, config: Transformers, model: str) -> None:
        import torch

        from tasks.engines.inputs import VisionCache

        torch.set_num_threads(config.threads)
        self._config = config
        self._model, self._processor = load(model, device_of(config.device), config.dtype)
        self._vision = VisionCache(config.pictures)
        self._decoders: OrderedDict[Adapter | None, Decoder] = OrderedDict()

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. Requests go together by adapter and sampling."""
        import torch

        from tasks.engines.decode import decode, encode

        results: list[list[Completion]] = [[] for _ in requests]
        with torch.inference_mode():
            for adapter, indices in by_adapter(requests).items():
                decoder = self._decoder(adapter)
                asked = [requests[index] for index in indices]
                encoded = encode(self._model, self._processor, asked, self._vision)
                groups = decode(decoder, self._model, encoded, asked, rows=self._config.rows, on_done=on_done)
                for index, group in zip(indices, groups, strict=True):
                    results[index] = self._completions(group)
        return results

    def close(self) -> None:
        """Free the model."""
        self._decoders.clear()
        del self._model, self._processor, self._vision

    def _completions(self, samples: Iterable[SampledTokens]) -> list[Completion]:
        samples = list(samples)
        ids = [sample.ids[:-1] if sample.finished else sample.ids for sample in samples]
        texts = self._processor.tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [Completion(text, len(sample.ids), sample.finished) for text, sample in zip(texts, samples, strict=True)]

    def _decoder(self, adapter: Adapter | None) -> Decoder:
        if adapter not in self._decoders:
            self._decoders[adapter] = self._lay_out(adapter)
        self._decoders.move_to_end(adapter)
        while len(self._decoders) > ADAPTERS:
            self._decoders.popitem(last=False)
        return self._decoders[adapter]

    def _lay_out(self, adapter: Adapter | None) -> Decoder:
        """The decoder of the base model with an adapter on it; the base model is left as it was."""
        from tasks.engines.decoder import Decoder

        if adapter is None:
            return Decoder(self._model)
        check_adapter(adapter)
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(self._model, str(adapter.path))
        try:
            _refuse_vision(adapted, adapter)
            return Decoder(adapted)
        finally:
            self._model = adapted.unload()


def load(model: str, device: str, dtype: str) -> tuple[Any, Any]:
    """The model, frozen and ready, and its processor."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    try:
        loaded: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            model, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        processor = load_processor(model)
    except OSError as error:
        raise UserError(f"cannot load the model {model}: {first_line(error)}") from error
    return loaded.to(device).eval().requires_grad_(False), processor


def _refuse_vision(adapted: Any, adapter: Adapter) -> None:
    """Image features are shared by all adapters, so an adapter must leave the vision tower alone."""
    if any("lora_" in name and ".visual." in name for name, _ in adapted.named_parameters()):
        raise UserError(f"the adapter {adapter.path} changes the vision tower: train it on the language model only")
