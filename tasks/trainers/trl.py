"""The TRL trainer: GRPO on examples and a reward function, with a LoRA adapter or the whole language model.

Every setting is passed to TRL explicitly, because the defaults of TRL 1.16 differ from the method's:

| | method (published code) | TRL's default | here |
|---|---|---|---|
| steps x prompts x rollouts | 10-30 x 512 x 8, 4 updates each | 8 rollouts, 1 update | `steps`, `prompts`, ... |
| clip, dual clip | 0.2/0.3 (Solver 0.2/0.28), 3 | 0.2/0.2, none | 0.2/0.28, 3 |
| KL to the round's start | k3, 0.01 | none; k3 times the ratio (`use_bias_correction_kl`) | k3 plain, 0.01 |
| loss | mean over tokens of an update | mean over tokens of a generation (`dapo`) | mean over tokens of an update |
| groups without signal | dropped (DAPO) | kept | dropped |
| schedule, weight decay | constant, 0.01 | linear to 0, 0 | constant, 0.01 |
| off-policy correction with vLLM | none | `sequence_mask`: can zero gradients | truncated by token |
| gradient checkpointing, bf16 | | both on | off, float32 |

With one update a step, `dapo` is the published token mean. TRL's `bnpo` averages over micro-batches; these are cut by
length here, so `bnpo` is no choice.
"""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.request import Request, Sampling
from tasks.execution.device import device_of
from tasks.records import ExampleReward, Step, write_rows
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted
from tasks.trainers.protocol import Training

if TYPE_CHECKING:
    from tasks.engines.protocol import PolicyEngine
    from tasks.engines.request import Adapter
    from tasks.trainers.grpo import GRPO, Batching
    from tasks.trainers.rollout_engine import PolicySampler, RolloutEngine


log = logging.getLogger(__name__)


class LoRA(Settings):
    """A low-rank adapter on the language model's linear layers (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the update. vLLM serves 1, 8, 16, 32, 64, 128, 256, 320, 512."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input while training."""
    targets: str | None = None
    """A regular expression on a layer's whole name; null takes all linear layers of the language model. The vision
    tower must stay frozen."""


class TRL(Settings):
    """GRPO by TRL's trainer."""

    kind: Literal["trl"] = "trl"
    """This trainer."""

    steps: Annotated[int, Field(ge=1)] = 10
    """Steps at most: each samples `prompts` x `rollouts` completions and learns from them."""
    passes: Annotated[float, Field(gt=0)] | None = None
    """Passes over the examples at most: fewer examples take fewer steps. Null sets no limit."""
    prompts: Annotated[int, Field(ge=1)] = 64
    """Prompts a step."""
    rollouts: Annotated[int, Field(ge=2)] = 8
    """Completions of each prompt. They are the group within which rewards are compared."""
    updates: Annotated[int, Field(ge=1)] = 1
    """Optimiser updates a step, each on another part of the prompts."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate of AdamW. The published full fine-tuning used 1e-6; an adapter needs about 100 times more."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Updates over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The learning rate after the warm-up; linear and cosine fall to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""

    weight_averaging: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the trained weights in the result; the rest are the weights at the start. Below 1 the result keeps more
    of the abilities that training does not exercise (WiSE-FT, arXiv 2109.01903). The paper has 1."""

    beta: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the KL term (k3) to the policy at the stage's start. 0 saves a forward pass."""
    unbiased_kl: bool = False
    """Multiply k3 by the importance ratio, so that its gradient is that of the KL (TRL's default; not published)."""
    epsilon_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Lower clip: ratios below 1 - epsilon_low have no gradient."""
    epsilon_high: Annotated[float, Field(gt=0)] = 0.28
    """Upper clip: ratios above 1 + epsilon_high have no gradient (DAPO's clip-higher)."""
    delta: Annotated[float, Field(gt=1)] | None = 3.0
    """Dual clip: the upper bound on the ratio where the advantage is negative. Null sets none."""
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """How the loss is averaged. dapo: over an update's tokens; grpo: over its rollouts' token means; dr_grpo: over
    rollouts x max_tokens."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation divides the advantages."""
    drop_uniform_groups: bool = True
    """Drop groups of equal rewards, and groups of 0/1 rewards whose mean is outside 0.01-0.99 (DAPO's filter)."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the rollouts and of the loss's probabilities. Neither top-k nor top-p is applied."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest completion in tokens."""

    lora: LoRA | None = LoRA()
    """The adapter; null trains the whole language model and writes a model folder."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass. Trained weights are float32 either way."""
    device: Annotated[Literal["auto", "cpu", "cuda"], NotFingerprinted] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    threads: Annotated[int, Field(ge=0), NotFingerprinted] = 1
    """CPU threads; 0 keeps torch's setting. A small model is faster on one than on two if the machine is busy."""
    workers: Annotated[int, Field(ge=1), NotFingerprinted] = 1
    """Ranks that train together, each on a GPU or processor of its own, placed by Ray if there are several."""
    micro_batch: Annotated[int, Field(ge=1), NotFingerprinted] = 4096
    """Tokens (padding included) of a forward pass."""
    row_tokens: Annotated[int, Field(ge=1), NotFingerprinted] = 320
    """Tokens of a prompt and of the completions (at least one) that share its forward pass. Sharing halves the time
    for 9 short completions. On a CPU, attention within a row costs more than it saves beyond about 300 tokens; a 3B
    model on an H100 takes two thirds of the time with 4096 (tests/gpu). 1: no sharing."""
    gradient_checkpointing: Annotated[bool, NotFingerprinted] = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    save_steps: Annotated[int, Field(ge=1), NotFingerprinted] = 5
    """Steps between checkpoints: a killed training loses this many at most."""

    @model_validator(mode="after")
    def _updates_divide_prompts(self) -> TRL:
        if self.prompts % self.updates:
            raise ValueError(f"prompts ({self.prompts}) must be a multiple of updates ({self.updates})")
        return self

    def steps_for(self, examples: int) -> int:
        """Steps on this number of examples: those of `passes` over them, at least 1 and at most `steps`."""
        most = math.inf if self.passes is None else math.ceil(self.passes * examples / self.prompts)
        return int(min(self.steps, max(1, most)))

    def train(self, training: Training) -> list[Step]:
        """See `Trainer.train`. With `lora=None` the start must be a whole model: `training.start` is None.

        `UserError` also for an adapter of another rank, alpha or targets; `Diverged` if a number is no longer finite.
        """
        if not training.examples:
            raise UserError("there is nothing to train on: the previous stage kept no example; loosen its filter.")
        check_model(Path(training.model))
        if training.start is not None:
            check_adapter(training.start)
        engine = self._policy_engine(training)
        training = self._fitting(training, engine)
        if self.workers == 1:
            return self.train_rank(training, engine)
        from tasks.trainers.placement import train_on_ranks

        return train_on_ranks(self, training, engine)

    def train_rank(self, training: Training, engine: PolicySampler | None) -> list[Step]:
        """Train as one rank of `ranks.count()`. `engine` draws the rollouts; None: the model in training does.

        Only the first rank writes the weights.
        """
        from tasks.trainers.rollout_engine import RolloutEngine

        with _quiet(), _torch_threads(self.threads), tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            policy, processor = self._policy(training)
            write = partial(_write_weights, processor, Path(training.model).name)
            rollout_engine = None if engine is None else RolloutEngine(engine, write, scratch)
            trainer = self._trainer(training, policy, processor, scratch, rollout_engine)
            start_weights = _trained_parameters(trainer.policy)
            trainer.resume(scratch)
            _average_weights(trainer.policy, start_weights, self.weight_averaging)
            trainer.check_finite()
            write(trainer.policy, training.out)
            if training.rewards_out is not None:
                write_rows(ExampleReward, trainer.example_rewards, training.rewards_out)
            return trainer.steps

    def _policy_engine(self, training: Training) -> PolicyEngine | None:
        """The one of the stage's engines that samples rollouts; None where the model in training samples them."""
        if training.engines is None:
            return None
        return training.engines.for_policy(training.model, whole=self.lora is None)

    def _fitting(self, training: Training, engine: PolicyEngine | None) -> Training:
        """The training without the examples that the rollout engine cannot hold. `UserError` if none is left."""
        if engine is None:
            return training
        sampling = Sampling(self.max_tokens, self.temperature)
        fitting = [
            each for each in training.examples if engine.fits(Request(each.prompt, each.picture, None, sampling))
        ]
        if not fitting:
            raise UserError("no example fits engine.max_model_len: raise it, or lower train.<role>.max_tokens.")
        if left_out := len(training.examples) - len(fitting):
            log.warning("%d of %d examples do not fit engine.max_model_len", left_out, len(training.examples))
        return replace(training, examples=fitting)

    def _trainer(
        self, training: Training, policy: Any, processor: Any, scratch: Path, rollout_engine: RolloutEngine | None
    ) -> GRPO:
        """TRL's trainer, ready to start. Its data set is a stand-in: steps choose their examples by the seed."""
        from datasets import Dataset
        from transformers import PrinterCallback

        from tasks.trainers.grpo import GRPO

        trainer = GRPO(
            batching=self._batching(training.seed),
            training=training,
            rollout_engine=rollout_engine,
            model=policy,
            args=self._arguments(training, scratch),
            train_dataset=Dataset.from_dict({"prompt": [example.prompt.user for example in training.examples]}),
            processing_class=processor,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _batching(self, seed: int) -> Batching:
        from tasks.trainers.grpo import Batching

        return Batching(
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

    def _arguments(self, training: Training, scratch: Path) -> Any:
        """TRL's configuration. Its batch is one update, which `GRPO` cuts into micro-batches."""
        from tasks.trainers.grpo import OneProcessConfig

        return OneProcessConfig(
            output_dir=str(scratch),
            seed=training.seed,
            max_steps=self.steps_for(len(training.examples)) * self.updates,
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
            save_strategy="no" if training.checkpoints is None else "steps",
            save_steps=self.save_steps * self.updates,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
        )

    def _policy(self, training: Training) -> tuple[Any, Any]:
        """The model to train, with frozen parameters that do not require gradients, and its processor."""
        from tasks.engines.transformers import load

        start = training.start
        if self.lora is None and start is not None:
            raise UserError(
                f"train.<role>.lora is null, but {start.path} is an adapter: set lora, or start from a whole model."
            )
        precision = self.precision if self.lora else "float32"
        base, processor = load(training.model, self._device(), precision, training.pictures)
        processor.tokenizer.padding_side = "left"
        if self.lora is not None:
            return _add_adapter(base, self.lora, start, training.seed), processor
        base.get_decoder().requires_grad_(True)
        base.get_output_embeddings().requires_grad_(True)
        return base, processor

    def _device(self) -> str:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("train.<role>.device is cuda, but there is no GPU: set it to cpu or auto.")
        return device_of(self.device)


_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
"""The names that transformers has for the schedules."""


def _add_adapter(base: Any, lora: LoRA, start: Adapter | None, seed: int) -> Any:
    """The base model with a trainable adapter: `start`, or a fresh one with an update of 0."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    from tasks.engines.architecture import language_linears

    if start is not None:
        _check_shape(lora, start)
        return PeftModel.from_pretrained(base, str(start.path), is_trainable=True)
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or language_linears(base),
        bias="none",
    )
    try:
        return get_peft_model(base, settings)
    except ValueError as error:
        raise UserError(f"train.<role>.lora.targets ({lora.targets}) fits no layer: {first_line(error)}") from error


def _check_shape(lora: LoRA, start: Adapter) -> None:
    """`UserError` if the settings differ from the adapter's own rank, alpha or targets, which cannot change."""
    from peft import PeftConfig

    saved = PeftConfig.from_pretrained(str(start.path))
    for name, configured, value in (
        ("rank", lora.rank, saved.r),
        ("alpha", lora.alpha, saved.lora_alpha),
        ("targets", lora.targets or saved.target_modules, saved.target_modules),
    ):
        if configured != value:
            raise UserError(
                f"train.<role>.lora.{name} is {configured}, the adapter {start.path} has {value}: set {value}."
            )


def _trained_parameters(policy: Any) -> dict[str, Any]:
    """Copies of the parameters that training changes, by name."""
    return {name: weight.detach().clone() for name, weight in policy.named_parameters() if weight.requires_grad}


def _average_weights(policy: Any, start: dict[str, Any], share: float) -> None:
    """Weight averaging: sets parameters to start + share * (trained - start), an adapter's two factors separately."""
    for name, weight in policy.named_parameters():
        if name in start and share < 1:
            weight.data.lerp_(start[name], 1 - share)


def _write_weights(processor: Any, model: str, policy: Any, out: Path) -> None:
    """Write the policy into a folder: a PEFT adapter of the base model named `model`, or a whole model.

    All ranks call it; the first one writes.
    """
    from tasks.trainers import ranks

    if not hasattr(policy, "peft_config"):
        _write_model(processor, policy, out)
        return
    if ranks.number() != 0:
        return
    out.mkdir(parents=True, exist_ok=True)
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    settings = copy.copy(policy.peft_config["default"])
    settings.inference_mode, settings.base_model_name_or_path = True, model
    weights = get_peft_model_state_dict(policy, adapter_name="default", save_embedding_layers=False)
    save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, out / "adapter_model.safetensors")
    settings.save_pretrained(str(out))


def _write_model(processor: Any, policy: Any, out: Path) -> None:
    from tasks.trainers import ranks
    from tasks.trainers.sharding import whole_weights

    weights = whole_weights(policy)
    if ranks.number() == 0:
        policy.save_pretrained(out, state_dict=weights)
        processor.save_pretrained(out)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings, log lines and progress bars of transformers and TRL: `on_step` and errors report progress."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
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
def _torch_threads(count: int) -> Iterator[None]:
    """Sets torch's CPU threads for the block; 0 keeps the setting."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
