"""`active-zero doctor`: is this machine ready for a round?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.check import Check
from flows.cli.console import print_json, print_line
from flows.cli.options import DEFAULT_CONFIG, Config, Gpus, Json, Overrides, examples

if TYPE_CHECKING:
    from tasks.config import RunConfig
    from tasks.memory.cards import Cluster
    from tasks.store import Store

app = typer.Typer()


Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu", metavar="NAME|GIB", help="Plan memory for this card instead: h100-80, rtx4090-24, ... or 24."
    ),
]


@app.command(
    epilog=examples(
        "active-zero doctor",
        "active-zero doctor --config qwen2.5-vl-7b --gpu h100-80",
        "active-zero doctor --config paper --gpus 8 --gpu h100-80",
    )
)
def doctor(
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    gpu: Gpu = None,
    gpus: Gpus = None,
    json: Json = False,
) -> None:
    """Check packages, memory, store, model, corpus, benchmarks and Prefect: pass, warn or fail, and what to do."""
    from tasks.config import load_config
    from tasks.memory.cards import Cluster, card_named
    from tasks.settings.errors import UserError
    from tasks.store import Store

    if gpus is not None and gpu is None:
        raise UserError(f"--gpus {gpus} says how many, --gpu says of which card: add --gpu h100-80, or another card.")
    cluster = None if gpu is None else Cluster(card_named(gpu), gpus or 1)
    checks = run_checks(load_config(config, overrides or []), Store.from_environment(), cluster)
    if json:
        print_json([_as_json(check) for check in checks])
    else:
        _print(checks)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def _as_json(check: Check) -> dict[str, Any]:
    record = {"name": check.name, "state": check.state, "told": check.message}
    return record if check.details is None else {**record, "details": check.details}


def _print(checks: Sequence[Check]) -> None:
    """One line a check, then the memory plan as a table."""
    from flows.cli.doctor_memory import print_plan

    for check in checks:
        print_line(f"{check.state}  {check.name}: {check.message}")
    for check in checks:
        if check.details is not None:
            print_plan(check.details)


def run_checks(config: RunConfig, store: Store, cluster: Cluster | None = None) -> list[Check]:
    """Run every check by itself: an exception makes that check fail and stops no other.

    `cluster` is what memory is planned for; None takes this machine.
    """
    from flows.cli import doctor_engine as engine
    from flows.cli import doctor_machine as machine
    from flows.cli import doctor_memory as memory
    from flows.cli import doctor_prefect as prefect
    from flows.cli import doctor_settings as settings

    checks: dict[str, Callable[[], Check]] = {
        "python": machine.python,
        "packages": machine.packages,
        "memory": machine.memory,
        "disk": lambda: machine.disk(store),
        "device": lambda: engine.device(config, cluster),
        "C compiler": lambda: engine.compiler(config),
        "memory plan": lambda: memory.memory_plan(config, cluster),
        "prompt length": lambda: engine.lengths(config, memory.model_shape(config.model)),
        "store": lambda: settings.store(store),
        "model": lambda: settings.model(config),
        "corpus": lambda: settings.corpus(config, store),
        "benchmarks": lambda: settings.benchmarks(config),
        "gold items": lambda: settings.gold_items(config),
        **prefect.checks(),
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], Check]) -> Check:
    from tasks.settings.errors import UserError

    try:
        return check()
    except UserError as error:
        return Check(name, "fail", str(error))
    except Exception as error:  # the other checks still run
        return Check(name, "fail", f"{type(error).__name__}: {error}")
