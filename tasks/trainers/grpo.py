"""TRL's GRPO with three parts exchanged: where rollouts come from, how they are batched, how they are scored.

TRL keeps what it is good at: the clipped loss and its KL term, the reference adapter, optimiser, schedule, clipping of
gradients, checkpoints. Exchanged, because they cost most of a step on one core or are missing:

- rollouts come from the engines' decoder (transformers' generate took most of a step) or from an engine beside it,
  rewards from one call a step;
- groups that teach nothing are left out of the batch (DAPO's filter, absent in TRL);
- log-probabilities come from `packing`: a prompt is computed once for its rollouts, padding is sorted away, and
  micro-batches are filled by tokens, not by a fixed number of rows.

What this relies on in TRL 1.16 beyond its public API (tests/tasks/trainers/test_trl_contract.py fails if it changes):
`compute_loss` reads the keys of `_inputs`, calls the model as `_Scored` answers, divides `dapo` by
`num_items_in_batch / steps_per_generation`, and leaves its KL in `_metrics["train"]["kl"]`; a PeftModel that comes
with an adapter gets a frozen copy of it named `ref` when beta > 0.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import use_adapter

from tasks.engines.decode import SampledTokens, encode, sample
from tasks.engines.inputs import VisionCache
from tasks.engines.request import Request, Sampling
from tasks.records import Step
from tasks.trainers.advantages import Scale, advantages, has_spread, informative
from tasks.trainers.checkpoints import Checkpoints
from tasks.trainers.example import Example, Reward, RewardFunction, Rollout
from tasks.trainers.packing import Context, Pack, PackedRow, context, pack, score
from tasks.trainers.rollout_engine import RolloutEngine

log = logging.getLogger(__name__)

CORRECTION = 2.0
"""Bound on the ratio of the trained model's probability of a token to that of the engine beside it."""


class Diverged(ArithmeticError):
    """A loss, a gradient or a weight is not finite. Nothing was written."""


@dataclass(frozen=True)
class Layout:
    """How a step's rollouts are made and split: what TRL's own arguments do not hold."""

    prompts: int
    rollouts: int
    updates: int
    sampling: Sampling
    scale: Scale
    drop_uniform: bool
    row_tokens: int
    """About how many tokens of a prompt and its rollouts share a forward pass of the prompt."""
    micro_batch: int
    """Tokens that go through the model together."""
    seed: int


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One rollout that trains."""

    prompt: Context
    sample: SampledTokens
    advantage: float


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Rollouts that go through the model together, and what the loss needs of them: (N,) or (N, C) tensors."""

    pack: Pack
    advantages: Tensor
    mask: Tensor
    """(N, C) int64: 1 on completion tokens."""
    sampled: Tensor
    """(N, C) log-probabilities by the sampler."""
    old: Tensor | None = None
    """(N, C) log-probabilities before the first update; None where there is one update: they are the current ones."""


@dataclass(frozen=True, eq=False)
class Update:
    """The groups of one optimiser update, and what their losses are averaged over."""

    taught: tuple[Sequence[Trajectory], ...]
    """Those that need a forward pass."""
    batches: tuple[MicroBatch, ...]
    rollouts: int
    tokens: int


@dataclass(frozen=True)
class _Scores:
    log_probs: Tensor
    entropy: Tensor


class _Scored:
    """Answers TRL's call of the model with the log-probabilities of a pack."""

    def __init__(self, model: Any, batch: Pack, temperature: float) -> None:
        self._model, self._batch, self._temperature = model, batch, temperature

    def __call__(self, **ignored: Any) -> _Scores:
        return _Scores(*score(self._model, self._batch, self._temperature))


class GRPO(GRPOTrainer):
    """TRL's trainer over `steps` generations of `layout.prompts` x `layout.rollouts` each."""

    def __init__(
        self,
        *,
        layout: Layout,
        examples: Sequence[Example],
        reward: RewardFunction,
        on_step: Callable[[Step], None] | None,
        checkpoints: Checkpoints | None,
        beside: RolloutEngine | None,
        **arguments: Any,
    ) -> None:
        super().__init__(reward_funcs=_never, **arguments)
        self._layout, self._examples = layout, examples
        self._reward, self._on_step, self._checkpoints = reward, on_step, checkpoints
        self._beside = beside
        self._vision = VisionCache()
        self._pending: list[Update] = []
        self._measured: dict[str, Any] = {}

    @property
    def steps(self) -> list[Step]:
        """Every step so far, those before a checkpoint included."""
        return [_step(entry, number) for number, entry in enumerate(filter(_is_step, self.state.log_history), 1)]

    @property
    def policy(self) -> Any:
        """The model in training: a PeftModel around the language model's adapter, or the whole model."""
        return self.accelerator.unwrap_model(self.model)

    def go_on(self, scratch: Path) -> None:
        """Train to the end, from the last checkpoint if one was kept. New ones pass through the folder."""
        if self._checkpoints is not None:
            self._checkpoints.restore(scratch)
            self.add_callback(_Kept(self._checkpoints))
        last = get_last_checkpoint(str(scratch))
        if last is not None and hasattr(self.policy, "peft_config"):
            self.add_callback(_Restored(Path(last)))
        self.train(resume_from_checkpoint=last)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The numbers of the updates: each knows its prompts by the seed, so a resumed run sees the same ones."""
        numbers = [{"update": number} for number in range(self.args.max_steps)]
        return DataLoader(numbers, batch_size=1, collate_fn=itemgetter(0))  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The gradients of one update; the first update of a step draws its rollouts."""
        if not self._pending:
            self._pending = self._draw(int(inputs["update"]) // self._layout.updates)
        update = self._pending.pop(0)
        model.train()
        loss, kl = self._gradients(update)
        if not np.isfinite(loss):
            raise Diverged(f"the loss is {loss} at update {self.state.global_step + 1}: lower the learning rate.")
        self._measured["kl"] += kl / max(update.tokens, 1) / self._layout.updates
        return torch.tensor(loss, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what a step measured, and hands the step on."""
        if "loss" in logs:
            if not np.isfinite(logs["grad_norm"]):
                raise Diverged(f"the gradient is {logs['grad_norm']} at update {self.state.global_step}.")
            logs |= self._measured
        super().log(logs, start_time)
        if "loss" in logs and self._on_step is not None:
            self._on_step(self.steps[-1])

    def check_finite(self) -> None:
        """`Diverged` if a trained weight is not a number."""
        for name, parameter in self.policy.named_parameters():
            if parameter.requires_grad and not parameter.isfinite().all():
                raise Diverged(f"the weights {name} are no longer finite: lower the learning rate.")

    # -- rollouts -----------------------------------------------------------------------------------------------------

    def _draw(self, step: int) -> list[Update]:
        """The step's rollouts, rewarded, compared within their groups and split into updates."""
        self.check_finite()
        layout = self._layout
        examples = prompts_of(self._examples, step, layout.prompts, layout.seed)
        requests = [self._request(example, step * layout.prompts + i) for i, example in enumerate(examples)]
        self.policy.eval()
        prompts = self._read(requests)
        groups = self._sample(requests, prompts)
        rewards, earned = self._rewards(examples, groups)
        self._measured = measurements(rewards, earned, groups)
        trajectories = self._trajectories(prompts, groups, rewards)
        order = np.random.default_rng((layout.seed, step, 1)).permutation(len(trajectories))
        return [self._update([trajectories[i] for i in part]) for part in np.array_split(order, layout.updates)]

    def _request(self, example: Example, number: int) -> Request:
        layout = self._layout
        seed = layout.seed * 1_000_003 + number
        return Request(example.prompt, example.picture, None, layout.sampling, layout.rollouts, seed)

    def _read(self, requests: Sequence[Request]) -> list[Context]:
        with torch.no_grad():
            encoded = encode(self._bare, self.processing_class, requests, self._vision)
            return [context(self._bare, prompt) for prompt in encoded]

    def _sample(self, requests: Sequence[Request], prompts: Sequence[Context]) -> list[list[SampledTokens]]:
        """Samples by the policy as it now stands."""
        if self._beside is not None:
            return self._beside.sample(self.policy, requests, prompts)
        return sample(self.policy, self.processing_class, requests, vision=self._vision)

    def _rewards(
        self, examples: Sequence[Example], groups: Sequence[Sequence[SampledTokens]]
    ) -> tuple[NDArray[np.float64], list[Reward]]:
        """Totals (prompts, rollouts), and every reward."""
        owners = [example for example, group in zip(examples, groups, strict=True) for _ in group]
        processor: Any = self.processing_class
        texts = processor.batch_decode([sample.ids for group in groups for sample in group], skip_special_tokens=True)
        rollouts = [Rollout(example, text) for example, text in zip(owners, texts, strict=True)]
        earned = list(self._reward(rollouts))
        if len(earned) != len(rollouts):
            raise ValueError(f"the reward function gave {len(earned)} rewards for {len(rollouts)} rollouts")
        totals = np.array([reward.total for reward in earned], dtype=np.float64)
        if not np.isfinite(totals).all():
            raise ValueError("the reward function gave a reward that is not finite")
        return totals.reshape(len(groups), -1), earned

    def _trajectories(
        self, prompts: Sequence[Context], groups: Sequence[Sequence[SampledTokens]], rewards: NDArray[np.float64]
    ) -> list[list[Trajectory]]:
        """The groups that train. An advantage of 0 has no gradient but counts in averages, unless it is dropped."""
        kept = informative(rewards) if self._layout.drop_uniform else np.ones(len(groups), dtype=bool)
        gains = advantages(rewards, self._layout.scale)
        return [
            [Trajectory(prompt, sample, float(gain)) for sample, gain in zip(group, gained, strict=True)]
            for prompt, group, gained, keep in zip(prompts, groups, gains, kept, strict=True)
            if keep
        ]

    def _update(self, groups: Sequence[Sequence[Trajectory]]) -> Update:
        """Micro-batches of an update's groups; without a KL term those of zero advantage need no forward pass."""
        everything = [trajectory for group in groups for trajectory in group]
        taught = [group for group in groups if self.beta or any(trajectory.advantage for trajectory in group)]
        tokens = sum(len(trajectory.sample.ids) for trajectory in everything)
        return Update(tuple(taught), self._batches(taught), len(everything), tokens)

    def _batches(self, groups: Sequence[Sequence[Trajectory]]) -> tuple[MicroBatch, ...]:
        layout = self._layout
        return tuple(self._micro_batch(part) for part in split(groups, layout.row_tokens, layout.micro_batch))

    def _micro_batch(self, rows: Sequence[Sequence[Trajectory]]) -> MicroBatch:
        """With one update the old probabilities are the current ones; the model's own sampler has noted them."""
        batch = micro_batch(rows)
        if self._beside is not None:
            return replace(batch, old=self._score(batch.pack))
        return batch if self._layout.updates == 1 else replace(batch, old=batch.sampled)

    # -- loss ---------------------------------------------------------------------------------------------------------

    def _gradients(self, update: Update) -> tuple[float, float]:
        """Leaves the update's gradients; its loss, and its KL summed over tokens.

        Out of memory, it begins again with micro-batches of half as many tokens: the update stays the same.
        """
        while True:
            try:
                parts = [self._backward(batch, update) for batch in update.batches]
            except torch.OutOfMemoryError as error:
                update = self._halved(update, error)
                continue
            return sum(loss for loss, _ in parts), sum(kl for _, kl in parts)

    def _halved(self, update: Update, error: torch.OutOfMemoryError) -> Update:
        """The update in micro-batches of half as many tokens, as all later ones will be."""
        if all(len(batch.pack.ids) == 1 for batch in update.batches):
            raise error  # a micro-batch is at least one row
        tokens = min(self._layout.micro_batch, max(batch.pack.ids.numel() for batch in update.batches)) // 2
        log.warning("out of memory: micro-batches of %d tokens from update %d on", tokens, self.state.global_step + 1)
        self._layout = replace(self._layout, micro_batch=tokens)
        self.policy.zero_grad()
        self._metrics["train"].pop("kl", None)
        torch.cuda.empty_cache()
        return replace(update, batches=self._batches(update.taught))

    def _backward(self, batch: MicroBatch, update: Update) -> tuple[float, float]:
        """Adds the micro-batch's gradients; its part of the update's loss, and its KL summed over tokens."""
        scored = _Scored(self._bare, batch.pack, self.temperature)
        loss = self.compute_loss(scored, self._inputs(batch, update))
        if self.loss_type != "dapo":  # a mean over the micro-batch's rollouts: weigh it by its share of the update
            loss = loss * (len(batch.advantages) / update.rollouts)
        self.accelerator.backward(loss)
        (kl,) = self._metrics["train"].pop("kl", [0.0])
        return float(loss.detach()), kl * int(batch.mask.sum())

    def _inputs(self, batch: MicroBatch, update: Update) -> dict[str, Tensor]:
        """What `compute_loss` reads. The prompt is a stand-in of one token: the scores do not come from it."""
        stand_in = torch.ones_like(batch.mask[:, :1])
        inputs = {
            "prompt_ids": stand_in,
            "prompt_mask": stand_in,
            "completion_ids": batch.mask,
            "completion_mask": batch.mask,
            "advantages": batch.advantages,
            "num_items_in_batch": torch.tensor(update.tokens * self._layout.updates, device=batch.mask.device),
        }
        if batch.old is not None:
            inputs["old_per_token_logps"] = batch.old
        if batch.old is not None and self._beside is not None:
            inputs["importance_sampling_ratio"] = correction(batch.old - batch.sampled)
        if self.beta:
            inputs["ref_per_token_logps"] = self._reference(batch.pack)
        return inputs

    def _reference(self, batch: Pack) -> Tensor:
        """Scores by the policy as the stage began: TRL's frozen copy of the first adapter, or of the whole model."""
        if self.ref_model is not None:
            return self._score(batch, self.ref_model)
        with use_adapter(self.policy, "ref"):
            return self._score(batch)

    def _score(self, batch: Pack, model: Any = None) -> Tensor:
        with torch.no_grad(), self.accelerator.autocast():
            return score(model or self._bare, batch, self.temperature)[0]

    @property
    def _bare(self) -> Any:
        """The Qwen2.5-VL inside; adapter layers live in its linear layers."""
        return self.policy.get_base_model() if hasattr(self.policy, "get_base_model") else self.policy


class _Kept(TrainerCallback):
    """Hands every checkpoint on, but the last: what comes after it is the trained weights themselves."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def on_save(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        if state.global_step < state.max_steps:
            self._checkpoints.keep(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Restored(TrainerCallback):
    """Puts a checkpoint's adapter back: transformers restores only the reference where there are two."""

    def __init__(self, checkpoint: Path) -> None:
        self._weights = load_file(checkpoint / "adapter_model.safetensors")

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        set_peft_model_state_dict(parts["model"], self._weights, adapter_name="default")


def correction(difference: Tensor) -> Tensor:
    """Truncated importance sampling, (N, C): what a sampler other than the model in training draws too often."""
    return difference.exp().clamp(max=CORRECTION)


def prompts_of(examples: Sequence[Example], step: int, prompts: int, seed: int) -> list[Example]:
    """The examples of a step: seeded permutations end to end, so that each comes up as often as any other (+-1).

    In the order of `examples`, so that groups of an example that comes up twice stand together.
    """
    first, last = step * prompts, (step + 1) * prompts
    epochs = range(first // len(examples), (last - 1) // len(examples) + 1)
    orders = [np.random.default_rng((seed, epoch)).permutation(len(examples)) for epoch in epochs]
    start = first - epochs.start * len(examples)
    return [examples[i] for i in sorted(np.concatenate(orders)[start : start + prompts])]


def rows_of(group: Sequence[Trajectory], tokens: int) -> list[list[Trajectory]]:
    """A group in rows of like numbers of rollouts and about `tokens` tokens, the prompt's included."""
    prompt = len(group[0].prompt.ids)
    count = math.ceil((_length(group) - prompt) / max(1, tokens - prompt))
    return [[group[i] for i in part] for part in np.array_split(range(len(group)), min(count, len(group)))]


def split(groups: Sequence[Sequence[Trajectory]], row_tokens: int, tokens: int) -> Iterator[list[list[Trajectory]]]:
    """Groups in rows, rows of like length together, at most `tokens` tokens (padding included) each time."""
    rows = [row for group in groups for row in rows_of(group, row_tokens)]
    batch: list[list[Trajectory]] = []
    for row in sorted(rows, key=_length, reverse=True):
        if batch and _length(batch[0]) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def micro_batch(rows: Sequence[Sequence[Trajectory]]) -> MicroBatch:
    """Tensors of rows, each a few rollouts of one prompt."""
    flat = [trajectory for row in rows for trajectory in row]
    starts = np.cumsum([0, *map(len, rows)]).tolist()
    packed = pack(
        [
            PackedRow(
                row[0].prompt, tuple(torch.tensor(t.sample.ids) for t in row), tuple(range(start, start + len(row)))
            )
            for row, start in zip(rows, starts, strict=False)
        ]
    )
    device = packed.ids.device
    mask = torch.zeros(packed.shape, dtype=torch.long, device=device)
    mask[packed.place] = 1
    sampled = pad_sequence([torch.tensor(trajectory.sample.logprobs) for trajectory in flat], batch_first=True)
    gains = torch.tensor([trajectory.advantage for trajectory in flat], dtype=torch.float32, device=device)
    return MicroBatch(packed, gains, mask, sampled.to(device))


def measurements(
    rewards: NDArray[np.float64], earned: Sequence[Reward], groups: Sequence[Sequence[SampledTokens]]
) -> dict[str, Any]:
    """What a generation says of itself, by the names of `Step`'s columns."""
    names = sorted({name for reward in earned for name in reward.terms})
    return {
        "kl": 0.0,
        "reward": float(rewards.mean()),
        "reward_sd": float(rewards.std()),
        "tokens": float(np.mean([len(sample.ids) for group in groups for sample in group])),
        "active": float(has_spread(rewards).mean()),
        "reward_terms": names,
        "reward_term_means": [float(np.mean([reward.terms.get(name, 0.0) for reward in earned])) for name in names],
    }


def _is_step(entry: dict[str, Any]) -> bool:
    return "loss" in entry


def _step(entry: dict[str, Any], number: int) -> Step:
    """A line of the trainer's log as a row."""
    return Step.model_validate({"step": number, **{name: entry[name] for name in Step.model_fields if name != "step"}})


def _never(*_: Any, **__: Any) -> list[float | None]:
    raise AssertionError("rewards come from one call a generation, not from TRL")


def _length(row: Sequence[Trajectory]) -> int:
    return len(row[0].prompt.ids) + sum(len(trajectory.sample.ids) for trajectory in row)
