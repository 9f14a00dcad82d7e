"""TRL's GRPO trainer, with sampling, rewards, filter, scoring and micro-batches replaced.

TRL keeps the clipped loss and its KL term, the reference adapter, optimiser, schedule, gradient clipping and
checkpoints. Replaced, because they took most of a step on one core or are missing in TRL:

| part | here | reason |
|---|---|---|
| sampling | the transformers engine's decoder, or a rollout engine | `generate` took most of a step |
| rewards | one call of the reward function a step | repetition is measured over all rollouts |
| filter | DAPO's: groups without a gradient leave the batch | TRL has none |
| scoring | `forward`: where it can, a prompt is computed once for its rollouts | TRL repeats it |
| micro-batches | rows of like length, filled by tokens | TRL has a fixed number of padded rows |

A step is one generation of `prompts` x `rollouts` completions, followed by `updates` optimiser updates on its parts.

This relies on five facts about TRL 1.16 beyond its public API (tests/tasks/trainers/test_trl_contract.py checks them):

1. `compute_loss` reads the keys of `_loss_inputs`.
2. It calls the model once, and takes an answer such as `_ScoringModel` gives.
3. It divides a `dapo` loss by `num_items_in_batch / steps_per_generation`.
4. It leaves its KL in `_metrics["train"]["kl"]`.
5. With beta > 0, a PeftModel that comes with an adapter gets a frozen copy of that adapter, named `ref`.

Shapes: N rollouts of a micro-batch, C tokens of its longest completion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import use_adapter

from tasks.engines.decode import SampledTokens
from tasks.engines.request import Request, Sampling
from tasks.records import ExampleReward, Step
from tasks.settings.errors import UserError
from tasks.trainers import ranks
from tasks.trainers.advantages import Scale, advantages, has_spread, informative
from tasks.trainers.checkpoints import Checkpoints
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.forward import Batch, Forward, Rows, Trajectory, forward_of
from tasks.trainers.protocol import Training
from tasks.trainers.rollout_engine import RolloutEngine
from tasks.trainers.sharding import Scorer, is_sharded, local, shard, unsharded
from tasks.trainers.shared_checkpoints import SharedCheckpoints

log = logging.getLogger(__name__)

EXAMPLES = "examples"
"""Key of a log entry: what the step's examples were rewarded."""
MAX_CORRECTION = 2.0
"""Upper bound on a token's probability by the trained model over that by the rollout engine."""


class Diverged(ArithmeticError):
    """A loss, a gradient or a weight is not finite. No weights were written."""


@dataclass(frozen=True)
class Batching:
    """How a step's rollouts are sampled, compared and batched: settings that TRL's arguments lack."""

    prompts: int
    """Prompts a step."""
    rollouts: int
    """Completions of each prompt."""
    updates: int
    """Optimiser updates a step."""
    sampling: Sampling
    scale: Scale
    """Whose standard deviation divides the advantages."""
    drop_uniform: bool
    """Apply DAPO's filter."""
    row_tokens: int
    """Tokens, about, of a prompt and of the rollouts that share its forward pass."""
    micro_batch: int
    """Tokens (padding included) of a forward pass."""
    seed: int


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """N rollouts of one forward pass, and the tensors of their loss."""

    inputs: Batch
    advantages: Tensor
    """(N,) float32."""
    mask: Tensor
    """(N, C) int64: 1 on completion tokens."""
    sampled: Tensor
    """(N, C) float32: log-probabilities by the sampler."""
    old: Tensor | None = None
    """(N, C) float32: see `Trajectory.old`."""


@dataclass(frozen=True, eq=False)
class Update:
    """One optimiser update: this rank's groups of rollouts, and the counts that the loss is averaged over."""

    groups: tuple[Sequence[Trajectory], ...]
    """The groups whose forward pass this rank runs."""
    parts: tuple[Rows, ...]
    """Their rows by forward pass. They become tensors one part at a time: a packed row holds a copy of its picture's
    features."""
    fillers: tuple[Rows, ...]
    """Passes that count for nothing: ranks that share weights must run as many passes as the one with most."""
    scored: int
    """Groups of all ranks that need a forward pass."""
    rollouts: int
    """Rollouts of all ranks' groups, those without a forward pass included."""
    tokens: int
    """Their completion tokens."""


@dataclass(frozen=True)
class _Scores:
    """The part of a model's output that TRL reads: both (N, C) float32."""

    log_probs: Tensor
    entropy: Tensor


class _ScoringModel:
    """Stands for the model in `compute_loss`: its call ignores TRL's inputs and scores a batch."""

    def __init__(self, scorer: Scorer, batch: Batch, temperature: float) -> None:
        self._scorer, self._batch, self._temperature = scorer, batch, temperature

    def __call__(self, **ignored: Any) -> _Scores:
        return _Scores(*self._scorer(self._batch, self._temperature))


class _StepPrompts:
    """The prompts of a step's requests, each made when this rank first needs it."""

    def __init__(self, make: Callable[[Sequence[Request]], list[Any]], requests: Sequence[Request]) -> None:
        self._make, self._requests = make, requests
        self._made: dict[int, Any] = {}

    def of(self, numbers: Sequence[int]) -> list[Any]:
        """The prompts of these requests."""
        missing = [number for number in numbers if number not in self._made]
        if missing:
            made = self._make([self._requests[number] for number in missing])
            self._made |= zip(missing, made, strict=True)
        return [self._made[number] for number in numbers]


@dataclass(frozen=True)
class _Rollouts:
    """A step's rollouts with their advantages, on every rank."""

    prompts: _StepPrompts
    groups: Sequence[Sequence[SampledTokens]]
    advantages: NDArray[np.float64]
    """(groups, rollouts)."""
    token_ids: Sequence[list[int]] | None
    """Each prompt's tokens as a rollout engine read them."""

    def tokens(self, number: int) -> int:
        """Completion tokens of a group."""
        return sum(len(sample.ids) for sample in self.groups[number])

    def trajectories(self, number: int) -> list[Trajectory]:
        """A group to learn from. A rollout with an advantage of 0 has no gradient, but counts in the loss's averages.

        `UserError` if the rollout engine read the prompt as other tokens.
        """
        (prompt,) = self.prompts.of([number])
        if self.token_ids is not None and prompt.ids.tolist() != self.token_ids[number]:
            raise UserError(
                f"the engine reads a prompt of {len(prompt.ids)} tokens as {len(self.token_ids[number])} tokens: "
                "its processor is not the one that was saved with the model."
            )
        pairs = zip(self.groups[number], self.advantages[number], strict=True)
        return [Trajectory(prompt, sample, float(value)) for sample, value in pairs]


class OneProcessConfig(GRPOConfig):
    """TRL's configuration for one rank in this process, on the one GPU that it was given.

    With several GPUs visible, transformers would copy the model to each (`DataParallel`), and TRL refuses to start.
    Ranks are no matter of TRL's: `GRPO` adds up what they compute.
    """

    @property
    def n_gpu(self) -> int:
        """1 with any number of GPUs, 0 without."""
        return min(1, int(super().n_gpu))

    @property
    def should_save(self) -> bool:
        """Whether this rank writes checkpoints."""
        return ranks.number() == 0


class GRPO(SharedCheckpoints):
    """TRL's trainer for one training. TRL counts optimiser updates as steps; `steps` and rows count generations."""

    def __init__(
        self, *, batching: Batching, training: Training, rollout_engine: RolloutEngine | None, **arguments: Any
    ) -> None:
        """`arguments` are those of TRL's trainer, except for the reward functions."""
        base = _base_of(arguments["model"])
        way = forward_of(base.config, batching.row_tokens)
        self._scorer = _spread(Scorer(way, base), whole=arguments["model"] is base)
        super().__init__(reward_funcs=_unused_reward, **arguments)
        if self.ref_model is not None:
            self._ref_scorer = _spread(Scorer(way, self.ref_model), whole=True)
        self._batching, self._training, self._rollout_engine = batching, training, rollout_engine
        self._pending_updates: list[Update] = []
        self._measurements: dict[str, Any] = {}

    @property
    def steps(self) -> list[Step]:
        """One row a step so far, those before a resumed checkpoint included."""
        return [_step(entry, number) for number, entry in enumerate(filter(_is_step, self.state.log_history), 1)]

    @property
    def example_rewards(self) -> list[ExampleReward]:
        """What each step's examples were rewarded, those of steps before a resumed checkpoint included."""
        entries: Iterator[tuple[int, Any]] = enumerate(filter(_is_step, self.state.log_history), 1)
        return [ExampleReward(step=number, **each) for number, entry in entries for each in entry.get(EXAMPLES, [])]

    def resume(self, scratch: Path) -> None:
        """Train to the end, from the last saved checkpoint if there is one. `scratch` is for checkpoints on the way."""
        if self._training.checkpoints is not None:
            self._training.checkpoints.restore(scratch)
            self.add_callback(_SaveCheckpoint(self._training.checkpoints))
        last = get_last_checkpoint(str(scratch))
        if last is not None and self.trains_adapter:
            self.add_callback(_RestoreAdapter(Path(last)))
        self.train(resume_from_checkpoint=last)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The numbers of the updates. An update finds its prompts by number and seed, so a resumed run has the same."""
        numbers = [{"update": number} for number in range(self.args.max_steps)]
        return DataLoader(numbers, batch_size=1, collate_fn=itemgetter(0))  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Computes the gradients of one update and returns its loss. A step's first update samples its rollouts."""
        if not self._pending_updates:
            self._pending_updates = self._updates_of_step(int(inputs["update"]) // self._batching.updates)
        update = self._pending_updates.pop(0)
        model.train()
        loss, kl = self._gradients(update)
        if not np.isfinite(loss):
            raise Diverged(f"the loss is {loss} at update {self.state.global_step + 1}: lower the learning rate.")
        self._measurements["kl"] += kl / max(update.tokens, 1) / self._batching.updates
        return torch.tensor(loss, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the step's measurements to TRL's log entry, and calls `on_step`."""
        if "loss" in logs:
            if not np.isfinite(logs["grad_norm"]):
                raise Diverged(
                    f"the gradient is {logs['grad_norm']} at update {self.state.global_step}: lower the learning rate."
                )
            logs |= self._measurements
        super().log(logs, start_time)
        if "loss" in logs and self._training.on_step is not None:
            self._training.on_step(self.steps[-1])

    def check_finite(self) -> None:
        """`Diverged` if a trained weight is not finite."""
        for name, parameter in self.policy.named_parameters():
            if parameter.requires_grad and not local(parameter).isfinite().all():
                raise Diverged(f"the weights {name} are no longer finite: lower the learning rate.")

    # -- rollouts -----------------------------------------------------------------------------------------------------

    def _updates_of_step(self, step: int) -> list[Update]:
        """Samples and rewards a step's rollouts, compares them within their groups and splits them into updates."""
        self.check_finite()
        batching = self._batching
        examples = step_examples(self._training.examples, step, batching.prompts, batching.seed)
        requests = [self._request(example, step * batching.prompts + i) for i, example in enumerate(examples)]
        self.policy.eval()
        prompts = _StepPrompts(partial(self._forward.prompts, self._base_model, self.processing_class), requests)
        token_ids, groups = self._sample(requests, prompts)
        totals, rewards = ranks.from_first(lambda: self._rewards(examples, groups))
        self._measurements = measurements(totals, rewards, groups) | {EXAMPLES: by_example(examples, rewards)}
        kept = np.flatnonzero(informative(totals)) if batching.drop_uniform else np.arange(len(groups))
        order = np.random.default_rng((batching.seed, step, 1)).permutation(kept)
        rollouts = _Rollouts(prompts, groups, advantages(totals, batching.scale), token_ids)
        return [self._update(rollouts, part.tolist()) for part in np.array_split(order, batching.updates)]

    def _request(self, example: Example, number: int) -> Request:
        """The request for an example's rollouts; `number` counts the prompts of all steps and makes the seed."""
        batching = self._batching
        seed = batching.seed * 1_000_003 + number
        return Request(example.prompt, example.picture, None, batching.sampling, batching.rollouts, seed)

    def _sample(
        self, requests: Sequence[Request], prompts: _StepPrompts
    ) -> tuple[list[list[int]] | None, list[list[SampledTokens]]]:
        """A rollout engine's reading of each prompt, and samples of each request by the policy's current weights."""
        if self._rollout_engine is not None:
            return self._rollout_engine.sample(self.policy, requests)
        own = ranks.own_share(range(len(requests)))
        with unsharded(self._scorer):
            mine = [requests[i] for i in own]
            samples = self._forward.sample(self.policy, self.processing_class, mine, prompts.of(own)) if mine else []
        return None, ranks.gathered(samples)

    def _rewards(
        self, examples: Sequence[Example], groups: Sequence[Sequence[SampledTokens]]
    ) -> tuple[NDArray[np.float64], list[Reward]]:
        """Reward totals, float64 (prompts, rollouts), and the rewards of all rollouts, in order.

        `ValueError` if the reward function returns another number of rewards, or one that is not finite.
        """
        owners = [example for example, group in zip(examples, groups, strict=True) for _ in group]
        processor: Any = self.processing_class
        texts = processor.batch_decode([sample.ids for group in groups for sample in group], skip_special_tokens=True)
        rollouts = [Rollout(example, text) for example, text in zip(owners, texts, strict=True)]
        rewards = list(self._training.reward(rollouts))
        if len(rewards) != len(rollouts):
            raise ValueError(f"the reward function returned {len(rewards)} rewards for {len(rollouts)} rollouts")
        totals = np.array([reward.total for reward in rewards], dtype=np.float64)
        if not np.isfinite(totals).all():
            raise ValueError("the reward function returned a reward that is not finite")
        return totals.reshape(len(groups), -1), rewards

    def _update(self, rollouts: _Rollouts, numbers: Sequence[int]) -> Update:
        """These groups as one update. Without a KL term, groups whose advantages are all 0 need no forward pass."""
        scored = [number for number in numbers if self.beta or rollouts.advantages[number].any()]
        share = ranks.balanced([rollouts.tokens(number) for number in scored], ranks.count())[ranks.number()]
        own = [rollouts.trajectories(scored[i]) for i in share]
        parts = self._forward.parts(own, self._batching.micro_batch)
        idle = ranks.largest(len(parts)) - len(parts) if is_sharded(self._scorer) else 0
        filler = parts[-1:] or (self._forward.parts([rollouts.trajectories(scored[0])], 1)[:1] if idle else ())
        update = Update(
            tuple(own),
            parts,
            filler * idle,
            len(scored),
            sum(len(rollouts.groups[number]) for number in numbers),
            sum(map(rollouts.tokens, numbers)),
        )
        return self._with_old(update)

    def _with_old(self, update: Update) -> Update:
        """The update with old log-probabilities, where the loss needs them.

        The model's own sampler recorded them in float32. A rollout engine's are not the trained model's, and those of a
        sampler in bfloat16 are rounded in other places (on random weights 76 % of the ratios are off by more than 1 %),
        so there they are computed. With one update a step they are the current ones, and TRL computes those.
        """
        if self._rollout_engine is None and self._batching.updates == 1:
            return update
        if self._rollout_engine is None and self._base_model.dtype == torch.float32:
            return _replaced(update, lambda one: torch.tensor(one.sample.logprobs))
        old: dict[int, Tensor] = {}
        for part in (*update.parts, *update.fillers):
            old |= self._log_probs(part)
        return _replaced(update, lambda one: old[id(one)])

    def _log_probs(self, part: Rows) -> dict[int, Tensor]:
        """Log-probabilities (C,) of each rollout of a part, by its `id`, on the host.

        Where the GPU's memory is too small for the part, those of smaller parts, one after the other.
        """
        try:
            scores = self._score(self._micro_batch(part).inputs).cpu()
        except torch.OutOfMemoryError:
            smaller = self._forward.parts(part, self._forward.size(part) // 2)
            if len(smaller) == 1 or is_sharded(self._scorer):
                raise
        else:
            flat = [trajectory for row in part for trajectory in row]
            return {id(one): line[: len(one.sample.ids)] for one, line in zip(flat, scores, strict=True)}
        torch.cuda.empty_cache()
        return {number: line for each in smaller for number, line in self._log_probs(each).items()}

    def _micro_batch(self, part: Rows) -> MicroBatch:
        return micro_batch(self._forward, part, self._base_model.device)

    # -- loss ---------------------------------------------------------------------------------------------------------

    def _gradients(self, update: Update) -> tuple[float, float]:
        """Accumulates the update's gradients; returns its loss, and its KL summed over tokens: those of all ranks.

        When the GPU is out of memory, the update starts again with micro-batches of half as many tokens: its gradients
        stay the same.
        """
        while True:
            try:
                parts = [self._backward(self._micro_batch(part), update) for part in update.parts]
                for filler in update.fillers:
                    self._backward(self._micro_batch(filler), update, weight=0.0)
            except torch.OutOfMemoryError as error:
                update = self._halved(update, error)
                continue
            if update.scored and not is_sharded(self._scorer):
                ranks.add_up_gradients(weight for weight in self.policy.parameters() if weight.requires_grad)
            loss, kl = ranks.total(sum(loss for loss, _ in parts), sum(kl for _, kl in parts))
            return loss, kl

    def _halved(self, update: Update, error: torch.OutOfMemoryError) -> Update:
        """The update in micro-batches of half as many tokens, which all later updates have too.

        Raises `error` if no micro-batch can be smaller, or weights are sharded: other ranks would wait for its passes.
        """
        if len(self._forward.parts(update.groups, 1)) == len(update.parts) or is_sharded(self._scorer):
            raise error
        tokens = min(self._batching.micro_batch, max(map(self._forward.size, update.parts))) // 2
        log.warning("out of memory: micro-batches of %d tokens from update %d on", tokens, self.state.global_step + 1)
        self._batching = replace(self._batching, micro_batch=tokens)
        self.policy.zero_grad()
        self._metrics["train"].pop("kl", None)
        torch.cuda.empty_cache()
        return replace(update, parts=self._forward.parts(update.groups, tokens))

    def _backward(self, batch: MicroBatch, update: Update, weight: float = 1.0) -> tuple[float, float]:
        """Adds the micro-batch's gradients; returns its part of the update's loss, and its KL summed over tokens.

        Only `dapo` divides by the update's tokens. The other losses are means over the micro-batch's rollouts, so they
        are weighted by its share of the update.
        """
        model = _ScoringModel(self._scorer, batch.inputs, self.temperature)
        with self.accelerator.autocast():  # as in `_score`: else a ratio of equal weights is not 1 in bfloat16
            loss = self.compute_loss(model, self._loss_inputs(batch, update))
        if self.loss_type != "dapo":
            loss = loss * (len(batch.advantages) / update.rollouts)
        self.accelerator.backward(loss * weight)
        (kl,) = self._metrics["train"].pop("kl", [0.0])
        return float(loss.detach()), kl * int(batch.mask.sum())

    def _loss_inputs(self, batch: MicroBatch, update: Update) -> dict[str, Tensor]:
        """The inputs of TRL's `compute_loss`. The token ids are stand-ins: `_ScoringModel` has the tokens."""
        stand_in = torch.ones_like(batch.mask[:, :1])
        inputs = {
            "prompt_ids": stand_in,
            "prompt_mask": stand_in,
            "completion_ids": batch.mask,
            "completion_mask": batch.mask,
            "advantages": batch.advantages,
            "num_items_in_batch": torch.tensor(update.tokens * self._batching.updates, device=batch.mask.device),
        }
        if batch.old is not None:
            inputs["old_per_token_logps"] = batch.old
        if batch.old is not None and self._rollout_engine is not None:
            inputs["importance_sampling_ratio"] = correction(batch.old - batch.sampled)
        if self.beta:
            inputs["ref_per_token_logps"] = self._reference(batch.inputs)
        return inputs

    def _reference(self, batch: Batch) -> Tensor:
        """Log-probabilities (N, C) by the policy at the stage's start, TRL's frozen copy of the adapter or model."""
        if self.ref_model is not None:
            return self._score(batch, self._ref_scorer)
        with use_adapter(self.policy, "ref"):
            return self._score(batch)

    def _score(self, batch: Batch, scorer: Scorer | None = None) -> Tensor:
        """Log-probabilities (N, C) by the current policy or another model, without gradients."""
        with torch.no_grad(), self.accelerator.autocast():
            log_probs: Tensor = (scorer or self._scorer)(batch, self.temperature)[0]
        return log_probs

    @property
    def _base_model(self) -> Any:
        """The model inside a PeftModel; the adapter's layers are in its linear layers and stay active."""
        return _base_of(self.policy)

    @property
    def _forward(self) -> Forward:
        return self._scorer.way


class _SaveCheckpoint(TrainerCallback):
    """Saves every checkpoint but the last, after which the training ends with its result."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by transformers once the checkpoint is written."""
        if state.global_step < state.max_steps:
            self._checkpoints.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _RestoreAdapter(TrainerCallback):
    """Restores a checkpoint's adapter: where there are two, transformers restores the reference adapter alone."""

    def __init__(self, checkpoint: Path) -> None:
        self._weights = load_file(checkpoint / "adapter_model.safetensors")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by transformers once it has restored the rest of the checkpoint."""
        set_peft_model_state_dict(kwargs["model"], self._weights, adapter_name="default")


def _base_of(policy: Any) -> Any:
    """The model inside a PeftModel, or the policy itself."""
    return policy.get_base_model() if hasattr(policy, "get_base_model") else policy


def _spread(scorer: Scorer, whole: bool) -> Scorer:
    """The scorer, its weights spread over the ranks where there are several and they are trained whole."""
    if whole and ranks.count() > 1:
        shard(scorer)
    return scorer


def _replaced(update: Update, old: Callable[[Trajectory], Tensor]) -> Update:
    """The update with these old log-probabilities."""
    new = {
        id(one): replace(one, old=old(one)) for part in (*update.parts, *update.fillers) for row in part for one in row
    }
    groups = tuple([new[id(one)] for one in group] for group in update.groups)
    parts, fillers = (
        tuple([[new[id(one)] for one in row] for row in part] for part in passes)
        for passes in (update.parts, update.fillers)
    )
    return replace(update, groups=groups, parts=parts, fillers=fillers)


def correction(difference: Tensor) -> Tensor:
    """Truncated importance weights (N, C) that correct for sampling by another model than the one in training.

    `difference` (N, C): log-probability by the model in training, minus that by the rollout engine.
    """
    return difference.exp().clamp(max=MAX_CORRECTION)


def step_examples(examples: Sequence[Example], step: int, prompts: int, seed: int) -> list[Example]:
    """The `prompts` examples of a step, from seeded permutations one after another: all are used equally often (+-1).

    They are in the order of `examples`, so that the groups of an example that a step uses twice are adjacent.
    """
    first, last = step * prompts, (step + 1) * prompts
    epochs = range(first // len(examples), (last - 1) // len(examples) + 1)
    orders = [np.random.default_rng((seed, epoch)).permutation(len(examples)) for epoch in epochs]
    start = first - epochs.start * len(examples)
    return [examples[i] for i in sorted(np.concatenate(orders)[start : start + prompts])]


def micro_batch(forward: Forward, rows: Rows, device: torch.device) -> MicroBatch:
    """The tensors of one forward pass."""
    flat = [trajectory for row in rows for trajectory in row]
    batch = forward.batch(rows, device)
    mask = torch.zeros(batch.shape, dtype=torch.long, device=device)
    mask[batch.cell] = 1
    sampled = pad_sequence([torch.tensor(trajectory.sample.logprobs) for trajectory in flat], batch_first=True)
    values = torch.tensor([trajectory.advantage for trajectory in flat], dtype=torch.float32, device=device)
    known = [trajectory.old for trajectory in flat if trajectory.old is not None]
    old = pad_sequence(known, batch_first=True).to(device) if known else None
    return MicroBatch(batch, values, mask, sampled.to(device), old)


def measurements(
    totals: NDArray[np.float64], rewards: Sequence[Reward], groups: Sequence[Sequence[SampledTokens]]
) -> dict[str, Any]:
    """Figures of a step's rollouts, by the names of `Step`'s columns; `kl` is added up by the updates."""
    names = sorted({name for reward in rewards for name in reward.terms})
    return {
        "kl": 0.0,
        "reward": float(totals.mean()),
        "reward_sd": float(totals.std()),
        "tokens": float(np.mean([len(sample.ids) for group in groups for sample in group])),
        "active": float(has_spread(totals).mean()),
        "reward_terms": names,
        "reward_term_means": [float(np.mean([reward.terms.get(name, 0.0) for reward in rewards])) for name in names],
    }


def by_example(examples: Sequence[Example], rewards: Sequence[Reward]) -> list[dict[str, Any]]:
    """The fields of `ExampleReward` for each example, as JSON: TRL's log, and so a checkpoint, keeps them."""
    size = len(rewards) // len(examples)
    groups = (rewards[start : start + size] for start in range(0, len(rewards), size))
    return [_one_example(example.id, group) for example, group in zip(examples, groups, strict=True)]


def _one_example(id: str, rewards: Sequence[Reward]) -> dict[str, Any]:
    names = sorted({name for reward in rewards for name in reward.terms})
    return {
        "example": id,
        "rollouts": len(rewards),
        "reward": float(np.mean([reward.total for reward in rewards])),
        "terms": names,
        "means": [float(np.mean([reward.terms.get(name, 0.0) for reward in rewards])) for name in names],
    }


def _is_step(entry: dict[str, Any]) -> bool:
    """Whether an entry of TRL's log is a step, rather than the summary at the end."""
    return "loss" in entry


def _step(entry: dict[str, Any], number: int) -> Step:
    """An entry of TRL's log as a row."""
    return Step.model_validate({"step": number, **{name: entry[name] for name in Step.model_fields if name != "step"}})


def _unused_reward(*_: Any, **__: Any) -> list[float | None]:
    """TRL requires a reward function, but `GRPO` computes rewards itself, in one call a step."""
    raise AssertionError("TRL must not compute rewards")
