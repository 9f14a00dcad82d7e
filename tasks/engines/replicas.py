"""The Ray engine: several replicas of an engine, each on its own GPU or processor of a Ray cluster.

Requests are cut into parts that hold all requests about one picture, so that a replica reads it once. The next part
goes to the replica with fewest; parts still waiting stay here, their pictures on disk. A part that a replica took with
it goes to another one: a request names all that decides its completions, so they are the same.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cachetools import LRUCache
from pydantic import Field, model_validator

from tasks.engines.cluster import Head, connect
from tasks.engines.model_folder import check_adapter
from tasks.engines.parts import parts
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import Engine, PolicyEngine
from tasks.engines.replica_logs import Outbox, Reply, delivered
from tasks.engines.replica_pool import ReplicaPool
from tasks.engines.request import Adapter, Completion, Request
from tasks.engines.scripted import Scripted
from tasks.engines.streams import by_part
from tasks.engines.transformers import Transformers
from tasks.engines.vllm import VLLM
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens

log = logging.getLogger(__name__)

BESIDE_RANK = 0.51
"""GPUs of a replica that leaves room for a rank: no second replica fits beside it, and one rank does."""
ROWS = 256
"""Completions of a part for an engine that has no batches."""
ADAPTERS = 16
"""Adapters whose files are kept: those of the roles, and the last of a policy in training."""
LAST_WORDS = 2.0
"""Seconds that a replica has to send its last warnings before it ends; one at work does not."""


class Ray(Settings):
    """Sampling by replicas of another engine on the cluster at RAY_ADDRESS, or else on this machine."""

    kind: Literal["ray"] = "ray"
    of: Annotated[Transformers | VLLM | Scripted, Field(discriminator="kind")] = Transformers()
    """The engine of each replica. It alone enters fingerprints."""
    replicas: Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], NotFingerprinted] = "auto"
    """How many; auto takes one for each `gpus` GPUs of the cluster, or for each processor where it has no GPU."""
    gpus: Annotated[int, NotFingerprinted] = Field(1, ge=1)
    """GPUs of a replica, on a cluster that has any. For vLLM it is `of.tensor_parallel_size`."""
    share: Annotated[bool, NotFingerprinted] = False
    """Leave room on each GPU for one rank of a training, so that replicas and ranks stand on the same cards."""
    rows: Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], NotFingerprinted] = "auto"
    """Completions that a replica gets at once: more use a GPU better, fewer share short work more evenly. Auto is
    `of.rows`, and eight times `of.max_num_seqs` for vLLM, which is idle in part when a batch ends."""

    @model_validator(mode="after")
    def _shares_one_gpu(self) -> Ray:
        if self.share and gpus_of(self) > 1:
            raise ValueError("share: a replica of several GPUs leaves no room on them; set share=false")
        return self

    @property
    def stands_for(self) -> Settings:
        """What a fingerprint has in place of these settings: where it ran changes no completion."""
        return self.of

    @property
    def needs_gpu(self) -> bool:
        """See `EngineSettings.needs_gpu`. The GPUs may be those of other machines."""
        return False

    @property
    def model_copies(self) -> int:
        """See `EngineSettings.model_copies`: those of this machine, if the replicas run here."""
        return self.of.model_copies * (1 if self.replicas == "auto" else self.replicas)

    @property
    def draws_rollouts(self) -> bool:
        """See `EngineSettings.draws_rollouts`."""
        return self.of.draws_rollouts

    def open(self, model: str, pictures: PictureBudget) -> RayEngine:
        """Start the replicas. Each loads the folder `model` at the same path on its machine."""
        return RayEngine(self, model, pictures)


class RayEngine(PolicyEngine):
    """Replicas of an engine, as one engine."""

    def __init__(self, config: Ray, model: str, pictures: PictureBudget) -> None:
        self._config = config
        self._ray, self._own_cluster = connect()
        self._head = Head(self._ray)
        self._known_machines: list[dict[str, float]] = []
        self._files: LRUCache[Adapter, Any] = LRUCache(ADAPTERS)
        self._weights: Path | None = None
        """The model's folder after a `reload`."""
        gpus = gpus_of(config) if self._ray.cluster_resources().get("GPU") else 0
        reserved = BESIDE_RANK if gpus and config.share else gpus
        remote = self._ray.remote(Replica).options(num_cpus=1, num_gpus=reserved)
        check_room(self._machines, config, gpus)
        try:
            self._pool = ReplicaPool(
                self._ray,
                partial(remote.remote, partial(config.of.open, model, pictures)),
                partial(self._wanted, gpus),
                self._get,
            )
        except BaseException:
            self._leave()
            raise

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        if not requests:
            return []
        ((_, results),) = self.stream([requests], on_done)
        return results

    def stream(
        self, parts: Sequence[Sequence[Request]], on_done: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[list[Completion]]]]:
        """See `Engine.stream`: no replica waits for the end of a part."""
        return by_part(parts, self._answers(parts, on_done))

    def _answers(
        self, chunks: Sequence[Sequence[Request]], on_done: Callable[[int], None] | None
    ) -> Iterator[tuple[int, list[Completion]]]:
        """The position in all chunks together and the completions of each request."""
        for indices, answers in self._shared("generate", chunks):
            yield from zip(indices, answers, strict=True)
            if on_done is not None:
                on_done(sum(map(len, answers)))

    def sample(self, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """See `PolicyEngine.sample`."""
        prompts: list[list[int]] = [[] for _ in requests]
        samples: list[list[SampledTokens]] = [[] for _ in requests]
        for indices, (ids, groups) in self._shared("sample", [requests]):
            for index, prompt, group in zip(indices, ids, groups, strict=True):
                prompts[index], samples[index] = prompt, group
        return prompts, samples

    def fits(self, request: Request) -> bool:
        """See `PolicyEngine.fits`."""
        (answer,) = self._pool.answers([request], lambda replica, request: replica.fits.remote(request))
        return bool(answer)

    def reload(self, folder: Path) -> None:
        """See `PolicyEngine.reload`. The folder must lie on a disk that all replicas share. Each loads it when used."""
        self._weights = folder

    def close(self) -> None:
        """End the replicas, and the cluster if it was started for them."""
        self._hear_last_words()
        self._pool.close()
        self._leave()

    def _wanted(self, gpus: int) -> int:
        """How many replicas there should be now."""
        room = room_on(self._machines, gpus)
        return room if self._config.replicas == "auto" else self._config.replicas

    @property
    def _machines(self) -> list[dict[str, float]]:
        """The resources of each machine of the cluster, as far as is known."""
        if self._head.answers():
            self._known_machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return self._known_machines

    def _leave(self) -> None:
        if self._own_cluster:
            self._ray.shutdown()

    def _hear_last_words(self) -> None:
        """Log what the replicas have logged since their last answers: after an error, the reason may be among it."""
        last = [replica.last_words.remote() for replica in self._pool.ready]
        heard, _ = self._ray.wait(last, num_returns=len(last), timeout=LAST_WORDS) if last else ([], [])
        for reference in heard:
            with suppress(self._ray.exceptions.RayError):  # the replica has died
                delivered(self._ray.get(reference))

    def _shared(self, method: str, chunks: Sequence[Sequence[Request]]) -> Iterator[tuple[list[int], Any]]:
        """The indices and the answers of each part of each chunk, in the order in which replicas finish them."""
        rows, starts = rows_of(self._config), accumulate(map(len, chunks), initial=0)
        cuts = [
            [start + index for index in part]
            for chunk, start in zip(chunks, starts, strict=False)
            for part in parts(chunk, rows)
        ]
        requests = [request for chunk in chunks for request in chunk]
        return self._pool.answers(cuts, partial(self._submit, method, requests))

    def _submit(self, method: str, requests: Sequence[Request], replica: Any, indices: list[int]) -> Any:
        """Called when a replica has room, so only parts at work have their pictures in memory."""
        part = [requests[index] for index in indices]
        files = {request.adapter: self._shipped(request.adapter) for request in part if request.adapter is not None}
        return replica.answer.remote(method, indices, part, files, self._weights)

    def _shipped(self, adapter: Adapter) -> Any:
        """Ray's reference to the adapter's files."""
        if adapter not in self._files:
            check_adapter(adapter)
            self._files[adapter] = self._ray.put(
                {file.name: file.read_bytes() for file in adapter.path.iterdir() if file.is_file()}
            )
        return self._files[adapter]

    def _get(self, reference: Any) -> Any:
        """What a replica's method returned. An error of the engine is raised as the replica raised it."""
        try:
            return delivered(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None


class Replica:
    """One replica, in a process of its own on some machine of the cluster."""

    def __init__(self, open_engine: Callable[[], Engine], number: int) -> None:
        self._open, self._outbox = open_engine, Outbox(f"replica {number}")
        self._outbox.collect()
        self._weights: Path | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._adapters: LRUCache[Adapter, Adapter] = LRUCache(ADAPTERS)

    @cached_property
    def _engine(self) -> Any:
        """Opened by `load`."""
        return self._open()

    def load(self) -> Reply:
        """Open the engine."""
        _ = self._engine
        return self._outbox.reply(None)

    def last_words(self) -> Reply:
        """What was logged since the last answer."""
        return self._outbox.reply(None)

    def answer(
        self, method: str, indices: list[int], requests: list[Request], files: dict[Adapter, Any], weights: Path | None
    ) -> Reply:
        """`indices`, and what the engine's `generate` or `sample` gives for the requests by these weights."""
        if weights != self._weights:
            self._reload(weights)
        local = [
            request if request.adapter is None else replace(request, adapter=self._local(request.adapter, files))
            for request in requests
        ]
        answers = getattr(self._engine, method)(local)
        return self._outbox.reply((indices, answers))

    def fits(self, request: Request) -> Reply:
        """See `PolicyEngine.fits`."""
        return self._outbox.reply(bool(self._engine.fits(request)))

    def _reload(self, folder: Path | None) -> None:
        if folder is None or not folder.is_dir():
            raise UserError(f"{folder} is not on this machine of the cluster: set TMPDIR to a disk that all share")
        self._engine.reload(folder)
        self._weights = folder

    def _local(self, adapter: Adapter, files: dict[Adapter, Any]) -> Adapter:
        """The adapter with its files on this machine."""
        import ray

        if adapter not in self._adapters:
            folder = Path(self._folder.name) / adapter.name
            folder.mkdir(exist_ok=True)
            for name, data in ray.get(files[adapter]).items():
                (folder / name).write_bytes(data)
            self._adapters[adapter] = Adapter(adapter.name, folder)
        return self._adapters[adapter]


def gpus_of(config: Ray) -> int:
    """GPUs that a replica uses on a cluster that has some."""
    if isinstance(config.of, VLLM):
        return config.of.tensor_parallel_size
    return 0 if isinstance(config.of, Scripted) or config.of.device == "cpu" else config.gpus


def rows_of(config: Ray) -> int:
    """Completions of a part."""
    if config.rows != "auto":
        return config.rows
    if isinstance(config.of, VLLM):
        return 8 * config.of.max_num_seqs
    return config.of.rows if isinstance(config.of, Transformers) else ROWS


def room_on(machines: Sequence[Mapping[str, float]], gpus: int) -> int:
    """Replicas of so many GPUs each, or of one processor, that machines with these resources hold."""
    name, each = ("GPU", gpus) if gpus else ("CPU", 1)
    return sum(int(machine.get(name, 0)) // each for machine in machines)


def check_room(machines: Sequence[Mapping[str, float]], config: Ray, gpus: int) -> None:
    """`UserError` if replicas would wait for ever."""
    room = room_on(machines, gpus)
    if room == 0 or (config.replicas != "auto" and config.replicas > room):
        each = f"{gpus} GPU" if gpus else "1 CPU"
        raise UserError(f"engine.replicas is {config.replicas}, at {each} each; the cluster has room for {room}")
