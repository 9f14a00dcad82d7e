"""The vLLM engine (vLLM 0.31) for large models on a GPU: paged attention, prefix caching, adapters mixed in one batch.

Adapters are served unmerged, by name and path: merging into bf16 rounds small updates away, and the prefix cache is
keyed by (name, path). An adapter on the vision tower is an error: vLLM would ignore it with only a warning.

Departure from `Engine`: the same request in another batch may round differently on a GPU. With
VLLM_BATCH_INVARIANT=1 in the environment vLLM uses slower kernels that do not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tasks.engines.architecture import changes_tower, placeholders, read_config
from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import PolicyEngine
from tasks.engines.request import Adapter, Completion, Request
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    from tasks.engines.decode import SampledTokens


log = logging.getLogger(__name__)

TOO_LONG = "prompt too long"


class VLLM(Settings):
    """Sampling by vLLM on the GPUs of this machine."""

    kind: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of weights and activations."""
    max_model_len: int = Field(8192, ge=16)
    """Longest prompt and completion together, in tokens. The published code has 4096 + 2048."""
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = 64
    """The largest rank of an adapter."""
    max_loras: Annotated[int, NotFingerprinted] = Field(4, ge=1)
    """Adapters in one batch: one a role, and that of the policy in training."""
    gpu_memory_utilization: Annotated[float, NotFingerprinted] = Field(0.9, gt=0, le=1)
    """Share of the GPU's memory for weights and KV cache. In a training the trainer needs the rest."""
    tensor_parallel_size: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """GPUs over which the model is split."""
    max_num_seqs: Annotated[int, NotFingerprinted] = Field(256, ge=1)
    """Sequences decoded at once."""
    enforce_eager: Annotated[bool, NotFingerprinted] = False
    """Without CUDA graphs: a faster start, slower decoding."""
    chunked_prefill: Annotated[bool, NotFingerprinted] = True
    """Prompts are read in parts between decoding steps. On a CPU this must be false: there, vLLM 0.31 cannot sample by
    seed with it."""

    @property
    def needs_gpu(self) -> bool:
        """See `EngineSettings.needs_gpu`."""
        return True

    @property
    def model_copies(self) -> int:
        """See `EngineSettings.model_copies`: `tensor_parallel_size` GPUs share one copy."""
        return 1

    @property
    def draws_rollouts(self) -> bool:
        """See `EngineSettings.draws_rollouts`."""
        return True

    def open(self, model: str, pictures: PictureBudget) -> VLLMEngine:
        """Load the model folder `model`. `UserError` if a file is missing there, or vLLM is not installed."""
        check_model(Path(model))
        return VLLMEngine(self, model, pictures)


class VLLMEngine(PolicyEngine):
    """A vLLM instance in a process of its own."""

    def __init__(self, config: VLLM, model: str, pictures: PictureBudget) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError("engine vllm: vLLM is not installed; install the extra `gpu`") from error
        from tasks.engines.inputs import Encoder, load_processor

        # A process that has used the GPU cannot be forked.
        os.environ.setdefault("VLLM_WORKER_MULTIPROCESSING_METHOD", "spawn")
        processor = load_processor(model, pictures)
        self._max_model_len = config.max_model_len
        self._llm: LLM = LLM(model, **arguments(config, picture_limits(processor, pictures)))
        self._max_rank = config.max_lora_rank
        self._processor, self._encoder = processor, Encoder(processor)
        self._placeholders = placeholders(read_config(model))
        self._adapters: dict[Adapter, LoRARequest] = {}

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. vLLM schedules all requests itself, adapters mixed.

        vLLM ends a whole batch for one prompt that is too long, so such a prompt never reaches it.
        """
        fitting = [request for request in requests if self.fits(request)]
        outputs = iter(self._generate(fitting, on_done))
        kept = set(map(id, fitting))
        if left_out := len(requests) - len(fitting):
            log.warning("%d prompts do not fit engine.max_model_len (%d): refused", left_out, self._max_model_len)
        return [
            [_completion(sample) for sample in next(outputs).outputs]
            if id(request) in kept
            else _refused(request, on_done)
            for request in requests
        ]

    def sample(self, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """Token ids of each prompt (a picture's placeholder expanded), and its samples with log-probabilities."""
        outputs = self._generate(requests, logprobs=0)
        samples = [[_sample(sample) for sample in output.outputs] for output in outputs]
        return [output.prompt_token_ids for output in outputs], samples

    def fits(self, request: Request) -> bool:
        """See `PolicyEngine.fits`: prompt and longest completion within `max_model_len` tokens."""
        tokens = self._encoder.length(request.prompt, request.picture)
        return tokens + request.sampling.max_tokens <= self._max_model_len

    def reload(self, folder: Path) -> None:
        """Replace the base model's weights by those in another folder of the same architecture."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        self._llm.reset_prefix_cache()
        self._llm.reset_mm_cache()
        self._llm.llm_engine.reset_encoder_cache()  # or the scheduler relies on pictures that the worker has dropped

    def _generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None, logprobs: int | None = None
    ) -> list[Any]:
        """vLLM's outputs of the requests, in order."""
        if not requests:
            return []
        outputs: list[Any] = self._llm.generate(
            [self._prompt(request) for request in requests],
            [sampling_params(request, self._placeholders, logprobs) for request in requests],
            lora_request=[self._lora(request.adapter) for request in requests],
            use_tqdm=partial(_progress_bar, on_done) if on_done is not None else False,
        )
        return outputs

    def close(self) -> None:
        """End vLLM's process and free the GPU."""
        import gc

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()

    def _prompt(self, request: Request) -> Any:
        """vLLM's form of a prompt. A picture has one placeholder: vLLM expands it itself."""
        text = self._encoder.text(request.prompt, picture=request.picture is not None)
        if request.picture is None:
            return {"prompt": text}
        return {"prompt": text, "multi_modal_data": {"image": request.picture.image}}

    def _lora(self, adapter: Adapter | None) -> LoRARequest | None:
        """vLLM's handle of an adapter, made and checked at first use; None for the base model."""
        from vllm.lora.request import LoRARequest

        if adapter is None:
            return None
        if adapter not in self._adapters:
            self._check_new(adapter)
            self._adapters[adapter] = LoRARequest(adapter.name, len(self._adapters) + 1, str(adapter.path))
        return self._adapters[adapter]

    def _check_new(self, adapter: Adapter) -> None:
        """`UserError` for an incomplete adapter, a name in use, too large a rank, or LoRA on the vision tower."""
        check_adapter(adapter)
        if adapter.name in {known.name for known in self._adapters}:
            raise UserError(f"two adapters are named {adapter.name}: vLLM needs a name for each")
        rank = int(json.loads((adapter.path / "adapter_config.json").read_text())["r"])
        if rank > self._max_rank:
            raise UserError(f"the adapter {adapter.path} has rank {rank}: set engine.max_lora_rank to at least that")
        from safetensors import safe_open

        with safe_open(adapter.path / "adapter_model.safetensors", "np") as file:
            if changes_tower(file.keys()):
                raise UserError(f"the adapter {adapter.path} changes the vision tower: train the language model only")


def picture_limits(processor: Any, pictures: PictureBudget) -> dict[str, int]:
    """The arguments of vLLM's own processor: both limits or none, since it reads no single one."""
    size = processor.image_processor.size
    return {"min_pixels": size.shortest_edge, "max_pixels": size.longest_edge} if pictures.edges() else {}


def arguments(config: VLLM, limits: dict[str, int]) -> dict[str, Any]:
    """Keyword arguments of `vllm.LLM`. `limits`: see `picture_limits`."""
    return {
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "tensor_parallel_size": config.tensor_parallel_size,
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.enforce_eager,
        "enable_chunked_prefill": config.chunked_prefill,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_loras": config.max_loras,
        "max_lora_rank": config.max_lora_rank,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "logprobs_mode": "processed_logprobs",  # of the distribution that tokens are sampled from
        "mm_processor_kwargs": limits,
    }


def sampling_params(request: Request, placeholders: Sequence[int], logprobs: int | None) -> SamplingParams:
    """A request's sampling as vLLM's record. `logprobs=0` adds the log-probability of each sampled token.

    `placeholders` (token ids of a picture's placeholders) are never sampled: they would be read back as part of a
    picture. vLLM seeds completion i with seed + i, so adjacent request seeds would share completions: the seed is
    hashed.
    """
    from vllm import SamplingParams

    sampling = request.sampling
    return SamplingParams(
        n=request.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        logprobs=logprobs,
        logit_bias=dict.fromkeys(placeholders, -100.0),
        seed=seed_number(request),
    )


def seed_number(request: Request) -> int:
    """vLLM's seed of a request's first completion."""
    return request.first + int.from_bytes(hashlib.blake2b(str(request.seed).encode(), digest_size=4).digest(), "big")


def _completion(output: Any) -> Completion:
    return Completion(output.text, len(output.token_ids), output.finish_reason == "stop")


def _refused(request: Request, on_done: Callable[[int], None] | None) -> list[Completion]:
    if on_done is not None:
        on_done(request.n)
    return [Completion("", 0, finished=False, refused=TOO_LONG)] * request.n


def _sample(output: Any) -> SampledTokens:
    from tasks.engines.decode import SampledTokens

    logprobs = [entries[token].logprob for token, entries in zip(output.token_ids, output.logprobs, strict=True)]
    return SampledTokens(list(output.token_ids), logprobs, output.finish_reason == "stop")


def _progress_bar(on_done: Callable[[int], None], prompts: Iterable[Any] | None = None, **_: Any) -> Any:
    """Stands for tqdm in `LLM.generate`, which calls it twice: around the prompts, and to count completions."""
    return _CompletionCounter(on_done) if prompts is None else prompts


class _CompletionCounter:
    """The part of a tqdm bar that `LLM.generate` uses; reports completions to `on_done`."""

    def __init__(self, on_done: Callable[[int], None]) -> None:
        self._on_done = on_done
        self.n = 0
        self.postfix = ""
        self.format_dict = {"elapsed": float("inf")}  # vLLM divides by it to print a rate

    def update(self, n: int) -> None:
        """Count n more completions."""
        self.n += n
        self._on_done(n)

    def refresh(self) -> None:
        """Nothing is displayed."""

    def close(self) -> None:
        """Nothing is displayed."""
