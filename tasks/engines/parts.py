"""Parts of the work of an engine: what one batch, one process or one replica gets at once.

The last bits of a matrix product depend on its shape, and a sampled token may depend on them. So all engines of
PyTorch cut requests here, by the requests alone: a part gives the same completions in this process, in a worker process
and in a replica, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tasks.engines.request import Adapter, Request


def parts(requests: Sequence[Request], rows: int) -> list[list[int]]:
    """Indices of the requests of each part: of about `rows` completions, each picture whole, adapters kept together.

    A picture's requests stay together, so that it is read once.
    """
    by_picture: dict[tuple[Adapter | None, str | int], list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        picture = index if request.picture is None else request.picture.key
        by_picture[request.adapter, picture].append(index)
    ordered = sorted(by_picture.items(), key=lambda item: "" if item[0][0] is None else item[0][0].name)
    found: list[list[int]] = []
    size = rows
    for _, indices in ordered:
        count = sum(requests[index].n for index in indices)
        if size + count > rows:
            found.append([])
            size = 0
        found[-1] += indices
        size += count
    return found
