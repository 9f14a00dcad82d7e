"""The ranks of a training: processes that hold one model, share the work of a step and make the same updates.

Every rank runs the whole trainer. Ranks meet where samples are gathered, where the first rank hands out what it alone
computed, and where losses and gradients are added up. Without a process group there is one rank, and each function
returns what it was given. Objects travel pickled: all ranks are processes of one training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

_NOTHING = "nothing"


def count() -> int:
    """How many ranks there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """This rank, from 0 on."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_share(items: Sequence[T]) -> Sequence[T]:
    """This rank's items: every n-th of them, from its number on."""
    return items[number() :: count()]


def gathered(own: Sequence[T]) -> list[T]:
    """The items of all ranks, in the order from which `own_share` took each rank's."""
    if count() == 1:
        return list(own)
    shares: list[Any] = [None] * count()
    distributed.all_gather_object(shares, list(own))
    return [item for row in zip_longest(*shares, fillvalue=_NOTHING) for item in row if item is not _NOTHING]


def from_first(compute: Callable[[], T]) -> T:
    """What the first rank computes, on every rank. The others wait."""
    if count() == 1:
        return compute()
    box: list[Any] = [compute() if number() == 0 else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[no-any-return]


def total(*values: float) -> tuple[float, ...]:
    """Each value added up over the ranks."""
    if count() == 1:
        return values
    table = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(table)
    return tuple(table.tolist())


def largest(value: int) -> int:
    """The largest of the ranks' values."""
    if count() == 1:
        return value
    table = torch.tensor(value)
    distributed.all_reduce(table, distributed.ReduceOp.MAX)
    return int(table)


def add_up_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces each gradient by the sum of all ranks' gradients; a rank without one adds 0."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)


def balanced(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Indices of the sizes in `parts` lists with nearly equal sums: the largest first, each to the smallest sum."""
    lists: list[list[int]] = [[] for _ in range(parts)]
    sums = [0] * parts
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        smallest = sums.index(min(sums))
        lists[smallest].append(index)
        sums[smallest] += sizes[index]
    return [sorted(indices) for indices in lists]
