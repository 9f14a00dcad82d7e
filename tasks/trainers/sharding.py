"""Whole weights spread over the ranks by PyTorch's FSDP2: each keeps a part of weights, gradients and AdamW's state.

A decoder layer's weights are gathered while the layer runs; embeddings, last norm and head, while the pass runs. The
vision tower is frozen and also runs on its own, so it stays whole on every rank. Gradients are summed over the ranks,
not averaged as by default: a loss here is divided by the counts of all ranks together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from tasks.trainers import ranks
from tasks.trainers.forward import Batch, Forward

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""State as if there were one rank, on the host of the first: any number of ranks can load it."""


class Scorer(torch.nn.Module):
    """A model whose forward pass is that of the trainer: log-probabilities of rollouts. The root of its shards."""

    def __init__(self, way: Forward, model: Any) -> None:
        super().__init__()
        self.way, self.model = way, model

    def forward(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """See `Forward.score`."""
        return self.way.score(self.model, batch, temperature)


def shard(scorer: Scorer) -> None:
    """Spread the language model's weights over the ranks."""
    model = scorer.model
    language = {
        id(weight) for part in (model.get_decoder(), model.get_output_embeddings()) for weight in part.parameters()
    }
    whole = {weight for weight in model.parameters() if id(weight) not in language}
    mesh = init_device_mesh(model.device.type, (ranks.count(),))
    for layer in model.get_decoder().layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(scorer, mesh=mesh, ignored_params=whole)
    for part in _shards(scorer):
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo knows no other reduction


def is_sharded(scorer: Scorer) -> bool:
    """Whether the scorer's weights are spread over ranks, so that all must run its passes together."""
    return isinstance(scorer, FSDPModule)


@contextmanager
def unsharded(scorer: Scorer) -> Iterator[None]:
    """All weights whole on each rank for the block, for code that reads them outside of `Scorer.forward`."""
    for part in _shards(scorer):
        part.unshard()
    yield
    for part in _shards(scorer):
        part.reshard()


def local(weight: Tensor) -> Tensor:
    """This rank's part of a weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole_norm(norm: Tensor) -> Tensor:
    """The norm of gradients over all ranks."""
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def whole_weights(model: Any) -> dict[str, Any]:
    """All weights of a model by name, on the host of the first rank; empty on the others, which must call it too.

    A head that shares the embedding's weights has no weights of its own.
    """
    weights = get_model_state_dict(model, options=WHOLE)
    return {name: weight for name, weight in weights.items() if name not in model.all_tied_weights_keys}


def load_weights(model: Any, weights: dict[str, Any]) -> None:
    """Set a model's weights; each rank takes its part of them."""
    tied = {name: weights[source] for name, source in model.all_tied_weights_keys.items() if source in weights}
    set_model_state_dict(model, weights | tied, options=WHOLE)


def whole_optimizer(model: Any, optimizer: Any) -> dict[str, Any]:
    """The optimiser's state by the names of the weights, on the first rank; see `whole_weights`."""
    return dict(get_optimizer_state_dict(model, optimizer, options=WHOLE))


def load_optimizer(model: Any, optimizer: Any, state: dict[str, Any]) -> None:
    """Set the optimiser's state; each rank takes its part of it."""
    set_optimizer_state_dict(model, optimizer, state, options=WHOLE)


def _shards(scorer: Scorer) -> list[FSDPModule]:
    return [module for module in scorer.modules() if isinstance(module, FSDPModule)]
