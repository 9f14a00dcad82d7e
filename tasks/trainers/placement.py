"""Training on several ranks, each a Ray actor on a GPU or processor of its own. The stage's process serves them.

Ranks hold the model in training and nothing else of the stage. What needs the stage (rollouts by its engines, rewards,
progress, the store) the first rank asks of the stage's process, one call after another. A rank that dies ends the
others; all start again from the last checkpoint.

Plain actors, not Ray Train: a rank is then a process with one GPU, like every other part of a round, the ranks' state
is the stage's own checkpoint in the store, and the reward function stays where its engines are.
"""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any, Protocol, overload

from torch import cuda, distributed

from tasks.engines.cluster import Head, connect
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import PolicyEngine
from tasks.engines.replica_logs import Outbox, Reply, delivered
from tasks.engines.replica_pool import LOOK, RETRIES
from tasks.engines.request import Adapter, Request
from tasks.records import Step
from tasks.settings.errors import UserError, first_line
from tasks.trainers import ranks
from tasks.trainers.checkpoints import Checkpoints
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.protocol import Training
from tasks.trainers.rollout_engine import PolicySampler

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens

log = logging.getLogger(__name__)

PIECE = 64 << 20
"""Bytes of a file that travel at once."""
PATIENCE = timedelta(days=1)
"""How long a rank waits for the others: rewards of a step may take long, and Ray tells of a rank that died."""
ROOM_SECONDS = 30.0
"""How long room for the ranks may take to become free: that of ranks that have just ended."""
BESIDE_REPLICA = 0.49
"""GPUs of a rank where replicas leave room for it on theirs (`Ray.share`)."""

REWARDS = "examples.parquet"

Files = Sequence[tuple[str, Any]]
"""Names and Ray's references to the pieces of a folder's files, in order."""


class RankTrainer(Protocol):
    """The settings of a trainer that several ranks can run."""

    @property
    def workers(self) -> int:
        """How many ranks."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, `cuda` or `auto`."""
        ...

    def train_rank(self, training: Training, engine: PolicySampler | None) -> list[Step]:
        """Train as one rank of a process group; see `TRL.train_rank`."""
        ...


@dataclass(frozen=True)
class Call:
    """What the first rank asks of the stage's process: a method of `TrainingHost`, and its arguments."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Ended:
    """The rows of a rank's training."""

    steps: list[Step]


@dataclass(frozen=True)
class Assignment:
    """A training, as it travels to its ranks."""

    settings: RankTrainer
    model: str
    start: str | None
    """Name of the adapter to continue."""
    start_files: Files
    examples: list[Any]
    """Ray's reference to each example."""
    seed: int
    pictures: PictureBudget
    sampled_by_engine: bool
    checkpoint: Files | None
    """The last checkpoint's files; None keeps no checkpoints."""
    tells_rewards: bool
    """Whether the stage wants what each example was rewarded."""


def train_on_ranks(settings: RankTrainer, training: Training, engine: PolicyEngine | None) -> list[Step]:
    """See `Trainer.train`, by `settings.workers` ranks on the cluster at RAY_ADDRESS, or else on this machine.

    `engine` draws the rollouts; None: the ranks do. `UserError` if the cluster has no room for the ranks.
    """
    ray, own_cluster = connect()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _Conductor(ray, settings, training, TrainingHost(training, engine, Path(folder))).train()
    finally:
        if own_cluster:
            ray.shutdown()


@dataclass
class TrainingHost:
    """The stage's process, as the first rank sees it."""

    training: Training
    engine: PolicyEngine | None
    folder: Path
    checkpoints: int = 0
    """Checkpoints saved so far."""
    reported: int = 0
    """The last step that was reported."""
    _received: int = 0

    def receive(self, name: str, piece: bytes) -> None:
        """Append to a file of the folder that the next call means."""
        file = self._incoming / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(piece)

    def forget(self) -> None:
        """Drop what a rank that died has sent."""
        self._taken()

    def sample(self, requests: list[Request], name: str) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """See `PolicyEngine.sample`: by the received adapter, or by the model that was loaded before."""
        assert self.engine is not None
        if not self._incoming.is_dir():
            return self.engine.sample(requests)
        adapter = Adapter(name, self._taken())
        return self.engine.sample([replace(request, adapter=adapter) for request in requests])

    def reload(self) -> None:
        """See `PolicyEngine.reload`, with the received folder."""
        assert self.engine is not None
        self.engine.reload(self._taken())

    def reward(self, rollouts: list[Rollout]) -> list[Reward]:
        """See `RewardFunction`."""
        return list(self.training.reward(rollouts))

    def step(self, step: Step) -> None:
        """Report a step, once where it was trained again after a rank had died."""
        if step.step > self.reported and self.training.on_step is not None:
            self.training.on_step(step)
        self.reported = max(self.reported, step.step)

    def save(self, name: str) -> None:
        """Save the received checkpoint."""
        assert self.training.checkpoints is not None
        self.training.checkpoints.save(self._taken().rename(self.folder / name))
        self.checkpoints += 1

    def finish(self) -> None:
        """The received folder is the result."""
        shutil.copytree(self._taken(), self.training.out, dirs_exist_ok=True)

    def tell(self) -> None:
        """The received folder holds what each example was rewarded, if the stage wants it."""
        told = self._taken() / REWARDS
        if self.training.rewards_out is not None:
            shutil.copyfile(told, self.training.rewards_out)

    @property
    def _incoming(self) -> Path:
        return self.folder / f"received-{self._received}"

    def _taken(self) -> Path:
        """The received folder; the next piece starts another."""
        taken = self._incoming
        self._received += 1
        return taken


class _Conductor:
    """Starts the ranks, answers the first one's calls, and starts them again after a death."""

    def __init__(self, ray: Any, settings: RankTrainer, training: Training, stage: TrainingHost) -> None:
        self._ray, self._settings, self._training, self._stage = ray, settings, training, stage
        self._head = Head(ray)
        self._examples = [ray.put(example) for example in training.examples]
        start = training.start
        self._start_files = [] if start is None else self._put(start.path)

    def train(self) -> list[Step]:
        """The training's rows. A death is an error after `RETRIES` deaths without a checkpoint between them."""
        deaths, checkpoints = 0, 0
        while True:
            try:
                return self._attempt()
            except self._ray.exceptions.RayActorError as error:
                deaths = 1 if self._stage.checkpoints > checkpoints else deaths + 1
                checkpoints = self._stage.checkpoints
                if deaths > RETRIES:
                    raise RuntimeError(
                        f"a rank of the training died {deaths} times: too little memory is the usual reason; "
                        f"lower train.<role>.micro_batch ({first_line(error)})"
                    ) from error
                log.warning(
                    "a rank of the training died: all ranks start again from the last checkpoint (%s)",
                    first_line(error),
                )
                self._stage.forget()

    def _attempt(self) -> list[Step]:
        count = self._settings.workers
        gpus = self._wait_for_room(count)
        remote = self._ray.remote(Rank).options(num_cpus=0, num_gpus=gpus, scheduling_strategy="SPREAD")
        actors = [remote.remote(number) for number in range(count)]
        try:
            address = self._ray.get(actors[0].address.remote())
            assignment = self._ray.put(self._assignment())
            running = [actor.start.remote(assignment, number, count, address) for number, actor in enumerate(actors)]
            return self._serve(actors[0], running)
        finally:
            for actor in actors:
                self._ray.kill(actor)

    def _serve(self, first: Any, running: list[Any]) -> list[Step]:
        """Answer the first rank until all have ended. Raises what any of them raises."""
        asked, steps = running[0], list[Step]()
        while running:
            found, running = self._ray.wait(running, num_returns=1, timeout=LOOK)
            self._head.answers()
            if not found:
                continue
            (ready,) = found
            outcome = self._get(ready)
            if isinstance(outcome, Call):
                asked = first.resume.remote(getattr(self._stage, outcome.method)(*outcome.arguments))
                running.append(asked)
            elif ready == asked:
                steps = outcome.steps
        return steps

    def _wait_for_room(self, count: int) -> float:
        """GPUs of a rank; 0 on a cluster without any. `UserError` if the ranks would wait for ever."""
        shared = self._training.engines is not None and self._training.engines.leave_room_for_ranks
        name, each = ("GPU", BESIDE_REPLICA if shared else 1.0) if self._needs_gpu else ("CPU", 1.0)
        resources = self._ray.cluster_resources if name == "CPU" else self._ray.available_resources
        deadline = time.monotonic() + ROOM_SECONDS
        while (room := resources().get(name, 0) / each) < count:
            if time.monotonic() > deadline:
                raise UserError(
                    f"train.<role>.workers is {count}, at {each:g} {name} each; the cluster has room for {int(room)}: "
                    "lower it, set engine.share=true, or add machines."
                )
            time.sleep(1)
        return each if name == "GPU" else 0

    @property
    def _needs_gpu(self) -> bool:
        return self._settings.device != "cpu" and bool(self._ray.cluster_resources().get("GPU"))

    def _assignment(self) -> Assignment:
        training = self._training
        return Assignment(
            self._settings,
            training.model,
            None if training.start is None else training.start.name,
            self._start_files,
            self._examples,
            training.seed,
            training.pictures,
            self._stage.engine is not None,
            None if training.checkpoints is None else self._last_checkpoint(training.checkpoints),
            training.rewards_out is not None,
        )

    def _last_checkpoint(self, checkpoints: Checkpoints) -> Files:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints.restore(Path(folder))
            return self._put(Path(folder))

    def _put(self, folder: Path) -> Files:
        return [(name, self._ray.put(piece)) for name, piece in pieces(folder)]

    def _get(self, reference: Any) -> Any:
        """What a rank's method returned. An error of a rank is raised as the rank raised it."""
        try:
            return delivered(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error


class Rank:
    """One rank, in a process of its own on some machine of the cluster. It trains in a thread that asks for answers."""

    def __init__(self, number: int) -> None:
        self._outbox = Outbox(f"rank {number}")
        self._outbox.collect()
        self._calls: Queue[Call | Ended | BaseException] = Queue()
        self._replies: Queue[Any] = Queue()

    def address(self) -> str:
        """A free port of this machine, where the ranks meet."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return f"tcp://{node}:{free.getsockname()[1]}"

    def start(self, assignment: Assignment, number: int, count: int, address: str) -> Reply:
        """Train until the first call, or to the end: a `Call` or `Ended`."""
        arguments = (assignment, number, count, address)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()
        return self._next()

    def resume(self, reply: Any) -> Reply:
        """Answer the call, and train until the next one, or to the end."""
        self._replies.put(reply)
        return self._next()

    def _next(self) -> Reply:
        call = self._calls.get()
        if isinstance(call, BaseException):
            raise call
        return self._outbox.reply(call)

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._calls.put(Call(method, arguments))
        return self._replies.get()

    def _run(self, assignment: Assignment, number: int, count: int, address: str) -> None:
        try:
            with _process_group(assignment.settings, number, count, address):
                self._calls.put(Ended(_train(assignment, self._ask)))
        except BaseException as error:  # raised in the stage's process, by `_next`
            self._calls.put(error)


@contextmanager
def _process_group(settings: RankTrainer, number: int, count: int, address: str) -> Iterator[None]:
    """The group of all ranks, for the block. Objects travel by gloo, gradients on GPUs by NCCL."""
    on_gpu = settings.device != "cpu" and cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    distributed.init_process_group(backend, address, PATIENCE, world_size=count, rank=number)
    yield
    distributed.destroy_process_group()


def _train(assignment: Assignment, ask: Callable[..., Any]) -> list[Step]:
    """This rank's training."""
    with tempfile.TemporaryDirectory() as folder:
        start, out, told = (Path(folder) / name for name in ("start", "out", "told"))
        told.mkdir()
        write(assignment.start_files, start)
        training = Training(
            assignment.model,
            None if assignment.start is None else Adapter(assignment.start, start),
            RemoteExamples(assignment.examples),
            lambda rollouts: ask("reward", list(rollouts)),
            out,
            assignment.seed,
            assignment.pictures,
            on_step=lambda step: _report(ask, step),
            checkpoints=None if assignment.checkpoint is None else RemoteCheckpoints(assignment.checkpoint, ask),
            rewards_out=told / REWARDS if assignment.tells_rewards else None,
        )
        steps = assignment.settings.train_rank(training, RemoteSampler(ask) if assignment.sampled_by_engine else None)
        if ranks.number() == 0:
            send(out, ask)
            ask("finish")
            send(told, ask)
            ask("tell")
        return steps


def _report(ask: Callable[..., Any], step: Step) -> None:
    if ranks.number() == 0:
        ask("step", step)


@dataclass(frozen=True)
class RemoteSampler:
    """The stage's engine, as a rank sees it: see `PolicySampler`."""

    ask: Callable[..., Any]

    def sample(self, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """See `PolicyEngine.sample`. All requests have one adapter, or none."""
        adapter = requests[0].adapter
        if adapter is not None:
            send(adapter.path, self.ask)
        plain = [replace(request, adapter=None) for request in requests]
        answers: tuple[list[list[int]], list[list[SampledTokens]]] = self.ask("sample", plain, adapter and adapter.name)
        return answers

    def reload(self, folder: Path) -> None:
        """See `PolicyEngine.reload`."""
        send(folder, self.ask)
        self.ask("reload")


@dataclass(frozen=True)
class RemoteCheckpoints:
    """The stage's checkpoints, as a rank sees them: see `Checkpoints`."""

    last: Files
    ask: Callable[..., Any]

    def restore(self, folder: Path) -> None:
        """See `Checkpoints.restore`."""
        write(self.last, folder)

    def save(self, checkpoint: Path) -> None:
        """See `Checkpoints.save`. Only the first rank has one to save."""
        if ranks.number() == 0:
            send(checkpoint, self.ask)
            self.ask("save", checkpoint.name)


@dataclass(frozen=True)
class RemoteExamples(Sequence[Example]):
    """Examples that come when they are used, so that no rank holds all pictures."""

    references: list[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.references)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        """Those of the references."""
        import ray

        found: Any = ray.get(self.references[index])
        return found  # type: ignore[no-any-return]


def pieces(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The folder's files in pieces that fit into memory, each with its file's name."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                name = str(file.relative_to(folder))
                yield name, stream.read(PIECE)
                yield from ((name, piece) for piece in iter(lambda: stream.read(PIECE), b""))


def send(folder: Path, ask: Callable[..., Any]) -> None:
    """Send a folder's files to the stage's process."""
    for name, piece in pieces(folder):
        ask("receive", name, piece)


def write(files: Files, folder: Path) -> None:
    """Write files from Ray's object store into a folder."""
    import ray

    folder.mkdir(parents=True, exist_ok=True)
    for name, reference in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        piece: Any = ray.get(reference)
        with file.open("ab") as stream:
            stream.write(piece)
