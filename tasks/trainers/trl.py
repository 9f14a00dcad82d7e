"""GRPO by TRL: examples and a reward function in, a trained adapter out.

Settings are stated in full, none is left to TRL, because its defaults (TRL 1.16) differ from the method's:

| | method (published code) | TRL's default | here |
|---|---|---|---|
| steps x prompts x rollouts | 10-30 x 512 x 8, 4 updates each | 8 rollouts, 1 update | `steps`, `prompts`, ... |
| clip, dual clip | 0.2/0.3 (Solver 0.2/0.28), 3 | 0.2/0.2, none | 0.2/0.28, 3 |
| KL to the round's start | k3, 0.01 | none; k3 times the ratio (`use_bias_correction_kl`) | k3 plain, 0.01 |
| loss | mean over tokens of an update | mean over tokens of a generation (`dapo`) | mean over tokens of an update |
| groups without signal | dropped (DAPO) | kept | dropped |
| schedule, weight decay | constant, 0.01 | linear to 0, 0 | constant, 0.01 |
| off-policy correction with vLLM | none | `sequence_mask`: can silence gradients | truncated by token |
| gradient checkpointing, bf16 | | both on | off, float32 |

With `dapo` a generation of one update is the published token mean; TRL's `bnpo` would average over micro-batches, which
are cut by length here, so it is left out.
"""

from __future__ import annotations

import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.request import Adapter, Sampling
from tasks.engines.vllm import VLLM
from tasks.execution.device import device_of
from tasks.records import Step
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted
from tasks.trainers.checkpoints import Checkpoints
from tasks.trainers.example import Example, RewardFunction

if TYPE_CHECKING:
    from tasks.trainers.grpo import GRPO, Layout
    from tasks.trainers.rollout_engine import RolloutEngine

LANGUAGE_LINEARS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class LoRA(Settings):
    """A low-rank adapter on the language model's linear layers (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the update. vLLM serves 1, 8, 16, 32, 64, 128, 256, 320, 512."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input while training."""
    targets: str = LANGUAGE_LINEARS
    """Regular expression that a layer's whole name must match. The vision tower stays frozen."""


class TRL(Settings):
    """GRPO with TRL's trainer."""

    kind: Literal["trl"] = "trl"
    """This trainer."""

    steps: Annotated[int, Field(ge=1)] = 10
    """Generations: each draws `prompts` x `rollouts` completions and learns from them."""
    passes: Annotated[float, Field(gt=0)] | None = None
    """How often an example comes up at most: fewer examples take fewer steps. Null sets no limit."""
    prompts: Annotated[int, Field(ge=1)] = 64
    """Prompts a step."""
    rollouts: Annotated[int, Field(ge=2)] = 8
    """Completions of each prompt: the group within which rewards are compared."""
    updates: Annotated[int, Field(ge=1)] = 1
    """Optimiser updates a step, each on its own part of the prompts."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate of AdamW. The published full fine-tuning used 1e-6; adapters take about 100 times more."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Updates over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What follows the warm-up; linear and cosine fall to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""

    weight_averaging: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How far from the start (0) to the trained weights (1) the kept ones lie. In between they keep more of what the
    start could do and the training never asked for (WiSE-FT, arXiv 2109.01903); the paper keeps the trained ones."""

    beta: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the KL term (k3) towards the policy that the stage starts from. 0 saves a forward pass."""
    unbiased_kl: bool = False
    """Multiply k3 by the importance ratio, which makes its gradient that of the KL (TRL's default; not published)."""
    epsilon_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Ratios below 1 - epsilon_low give no more gradient."""
    epsilon_high: Annotated[float, Field(gt=0)] = 0.28
    """Ratios above 1 + epsilon_high give no more gradient (DAPO's clip-higher)."""
    delta: Annotated[float, Field(gt=1)] | None = 3.0
    """Dual clip: a bound on the ratio where the advantage is negative."""
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """Mean over an update's tokens; over its rollouts' token means; over rollouts x max_tokens."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """The standard deviation by which advantages are divided."""
    drop_uniform_groups: bool = True
    """Leave out groups without a spread of rewards, and groups of 0/1 rewards whose mean is outside 0.01-0.99."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of the rollouts, and of the loss's probabilities. Nothing else cuts the distribution."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest completion in tokens."""

    lora: LoRA | None = LoRA()
    """The adapter; null trains the whole language model and writes a whole model folder."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass. Trained weights are float32 either way."""
    vllm: VLLM | None = None
    """Rollouts by a vLLM beside the model in training, which serves the adapter as it is; null: by that model itself.
    Seen on a CPU only."""

    device: Annotated[Literal["auto", "cpu", "cuda"], NotFingerprinted] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    threads: Annotated[int, Field(ge=0), NotFingerprinted] = 1
    """CPU threads; 0 leaves torch's setting. On small models one is faster than two on a busy machine."""
    micro_batch: Annotated[int, Field(ge=1), NotFingerprinted] = 4096
    """Tokens (padding included) that go through the model together."""
    row_tokens: Annotated[int, Field(ge=1), NotFingerprinted] = 320
    """Tokens of a prompt and of the completions that share its forward pass (at least one does). Halves the time for
    9 short completions; attention within a row costs more than it saves beyond about 300. 1: no sharing."""
    gradient_checkpointing: Annotated[bool, NotFingerprinted] = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    save_steps: Annotated[int, Field(ge=1), NotFingerprinted] = 5
    """Steps between checkpoints: so many a killed training loses at most."""

    @model_validator(mode="after")
    def _parts_are_whole(self) -> TRL:
        if self.prompts % self.updates:
            raise ValueError(f"prompts ({self.prompts}) must be a multiple of updates ({self.updates})")
        return self

    def steps_for(self, examples: int) -> int:
        """Steps on so many examples: `steps`, or as many as make `passes` over them."""
        wanted = math.inf if self.passes is None else math.ceil(self.passes * examples / self.prompts)
        return int(min(self.steps, max(1, wanted)))

    def train(
        self,
        model: str,
        start: Adapter | None,
        examples: Sequence[Example],
        reward: RewardFunction,
        out: Path,
        seed: int,
        on_step: Callable[[Step], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> list[Step]:
        """Train on from `start` (or from a fresh adapter), write the result into the folder `out`, return its steps.

        With `checkpoints` (of this very work: nothing here checks that) it goes on from the last one, to the same end.

        `out` is a PEFT adapter (safetensors), or with `lora=None` a whole model folder; `start` must then be None.
        `UserError` for no examples, a folder without weights, or an adapter of another shape; `Diverged` when a number
        is no longer finite, and then nothing is written.
        """
        if not examples:
            raise UserError("there is nothing to train on: the stage before kept no example; loosen its filter.")
        check_model(Path(model))
        if start is not None:
            check_adapter(start)
        with _quiet(), _threads(self.threads), tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            policy, processor = self._policy(model, start, seed)
            write = partial(_write, processor, Path(model).name)
            with self._engine_beside(model, write, scratch) as beside:
                trainer = self._trainer(
                    policy, processor, examples, reward, scratch, seed, on_step, checkpoints, beside
                )
                start_weights = _trainable(trainer.policy)
                trainer.go_on(scratch)
            _interpolate(trainer.policy, start_weights, self.weight_averaging)
            trainer.check_finite()
            write(trainer.policy, out)
            return trainer.steps

    @contextmanager
    def _engine_beside(
        self, model: str, write: Callable[[Any, Path], None], scratch: Path
    ) -> Iterator[RolloutEngine | None]:
        from tasks.trainers.rollout_engine import RolloutEngine

        if self.vllm is None:
            yield None
            return
        engine = self.vllm.open(model)
        try:
            yield RolloutEngine(engine, write, scratch)
        finally:
            engine.close()

    def _trainer(
        self,
        policy: Any,
        processor: Any,
        examples: Sequence[Example],
        reward: RewardFunction,
        scratch: Path,
        seed: int,
        on_step: Callable[[Step], None] | None,
        checkpoints: Checkpoints | None,
        beside: RolloutEngine | None,
    ) -> GRPO:
        from datasets import Dataset
        from transformers import PrinterCallback

        from tasks.trainers.grpo import GRPO

        trainer = GRPO(
            layout=self._layout(seed),
            examples=examples,
            reward=reward,
            on_step=on_step,
            checkpoints=checkpoints,
            beside=beside,
            model=policy,
            args=self._arguments(scratch, seed, self.steps_for(len(examples)), saving=checkpoints is not None),
            train_dataset=Dataset.from_dict({"prompt": [example.prompt.user for example in examples]}),
            processing_class=processor,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _layout(self, seed: int) -> Layout:
        from tasks.trainers.grpo import Layout

        return Layout(
            prompts=self.prompts,
            rollouts=self.rollouts,
            updates=self.updates,
            sampling=Sampling(self.max_tokens, self.temperature),
            scale=self.scale_rewards,
            drop_uniform=self.drop_uniform_groups,
            row_tokens=self.row_tokens,
            micro_batch=self.micro_batch,
            seed=seed,
        )

    def _arguments(self, scratch: Path, seed: int, steps: int, saving: bool) -> Any:
        """TRL's configuration. Its batch is one update; micro-batches are cut inside it."""
        from trl.trainer.grpo_config import GRPOConfig

        return GRPOConfig(
            output_dir=str(scratch),
            seed=seed,
            max_steps=steps * self.updates,
            per_device_train_batch_size=self.prompts * self.rollouts // self.updates,
            gradient_accumulation_steps=1,
            steps_per_generation=self.updates,
            num_generations=self.rollouts,
            max_completion_length=self.max_tokens,
            temperature=self.temperature,
            top_p=1.0,
            top_k=0,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup,
            lr_scheduler_type=_SCHEDULES[self.schedule],
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            beta=self.beta,
            use_bias_correction_kl=self.unbiased_kl,
            epsilon=self.epsilon_low,
            epsilon_high=self.epsilon_high,
            delta=self.delta,
            loss_type=self.loss_type,
            scale_rewards="none",
            gradient_checkpointing=self.gradient_checkpointing,
            bf16=self.precision == "bfloat16",
            use_cpu=self._device() == "cpu",
            optim="adamw_torch",
            logging_steps=self.updates,
            logging_nan_inf_filter=False,
            save_strategy="steps" if saving else "no",
            save_steps=self.save_steps * self.updates,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
        )

    def _policy(self, model: str, start: Adapter | None, seed: int) -> tuple[Any, Any]:
        """The model to train, its frozen parts frozen, and its processor."""
        from tasks.engines.transformers import load

        if self.lora is None and start is not None:
            raise UserError(f"trainer.lora is null, but {start.path} is an adapter: set lora, or start from a model.")
        base, processor = load(model, self._device(), self.precision if self.lora else "float32")
        processor.tokenizer.padding_side = "left"
        if self.lora is not None:
            return _adapted(base, self.lora, start, seed), processor
        base.model.language_model.requires_grad_(True)
        base.lm_head.requires_grad_(True)
        return base, processor

    def _device(self) -> str:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("trainer.device is cuda, but there is no GPU: set it to cpu or auto.")
        return device_of(self.device)


_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def _adapted(base: Any, lora: LoRA, start: Adapter | None, seed: int) -> Any:
    """The base with a trainable adapter: the one in `start`, or a fresh one that changes nothing yet."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    if start is not None:
        _check_shape(lora, start)
        return PeftModel.from_pretrained(base, str(start.path), is_trainable=True)
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets, bias="none"
    )
    try:
        return get_peft_model(base, settings)
    except ValueError as error:
        raise UserError(f"trainer.lora.targets ({lora.targets}) fits no layer: {first_line(error)}") from error


def _check_shape(lora: LoRA, start: Adapter) -> None:
    """An adapter goes on in its own shape: rank, alpha and targets cannot change on the way."""
    from peft import PeftConfig

    held = PeftConfig.from_pretrained(str(start.path))
    for name, wanted, found in (
        ("rank", lora.rank, held.r),
        ("alpha", lora.alpha, held.lora_alpha),
        ("targets", lora.targets, held.target_modules),
    ):
        if wanted != found:
            raise UserError(f"trainer.lora.{name} is {wanted}, the adapter {start.path} has {found}: set the same.")


def _trainable(policy: Any) -> dict[str, Any]:
    """Copies of the parameters that training changes, by name."""
    return {name: weight.detach().clone() for name, weight in policy.named_parameters() if weight.requires_grad}


def _interpolate(policy: Any, start: dict[str, Any], share: float) -> None:
    """Move the trained parameters to start + share * (trained - start). An adapter's two factors move each."""
    for name, weight in policy.named_parameters():
        if name in start and share < 1:
            weight.data.lerp_(start[name], 1 - share)


def _write(processor: Any, model: str, policy: Any, out: Path) -> None:
    """The trained weights: an adapter of the model of that name, or a whole model."""
    out.mkdir(parents=True, exist_ok=True)
    if not hasattr(policy, "peft_config"):
        policy.save_pretrained(out)
        processor.save_pretrained(out)
        return
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    settings = copy.copy(policy.peft_config["default"])
    settings.inference_mode, settings.base_model_name_or_path = True, model
    weights = get_peft_model_state_dict(policy, adapter_name="default", save_embedding_layers=False)
    save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, out / "adapter_model.safetensors")
    settings.save_pretrained(str(out))


@contextmanager
def _quiet() -> Iterator[None]:
    """No notices of transformers and TRL on standard error: what matters comes as steps and errors."""
    from transformers.utils import logging as notices

    logging: Any = notices
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
