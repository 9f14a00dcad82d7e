"""TRL's trainer with checkpoints that any number of ranks can load.

An adapter is the same on every rank, so the first one's is the checkpoint, as transformers writes it. Whole weights and
their optimiser are spread over the ranks: they are put together before they are written, and each rank reads its part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from trl.trainer.grpo_trainer import GRPOTrainer

from tasks.trainers.sharding import load_optimizer, load_weights, whole_norm, whole_optimizer, whole_weights

WEIGHTS, STATE = "model.safetensors", "optimizer_and_schedule.pt"


class SharedCheckpoints(GRPOTrainer):
    """The parts of transformers' trainer that read or write state which is spread over ranks."""

    @property
    def policy(self) -> Any:
        """The model in training: a PeftModel, or the whole model without an adapter."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained, rather than whole weights."""
        return hasattr(self.policy, "peft_config")

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Called by transformers for a checkpoint's weights."""
        if self.trains_adapter:
            super().save_model(output_dir, _internal_call)
            return
        weights = whole_weights(self.policy)
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.trains_adapter:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_weights(self.policy, load_file(Path(resume_from_checkpoint) / WEIGHTS))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.trains_adapter:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = whole_optimizer(self.policy, self._adamw), self._schedule.state_dict()
        if self.args.should_save:
            torch.save(state, Path(output_dir) / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.trains_adapter or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[no-untyped-call]
            return
        optimizer, schedule = torch.load(Path(checkpoint) / STATE, weights_only=True)
        load_optimizer(self.policy, self._adamw, optimizer)
        self._schedule.load_state_dict(schedule)

    def _clip_grad_norm(self, model: Any) -> Any:
        return whole_norm(super()._clip_grad_norm(model))  # type: ignore[no-untyped-call]

    @property
    def _schedule(self) -> Any:
        return self.lr_scheduler

    @property
    def _adamw(self) -> Any:
        """PyTorch's optimiser, inside accelerate's."""
        return getattr(self.optimizer, "optimizer", self.optimizer)
