"""`active-zero doctor`: is this machine ready for a round?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from flows.cli.check import Check
from flows.cli.console import print_json, print_line
from flows.cli.options import DEFAULT_CONFIG, Config, Json, Overrides, examples

if TYPE_CHECKING:
    from tasks.config import RunConfig
    from tasks.store import Store

app = typer.Typer()


@app.command(epilog=examples("active-zero doctor", "active-zero doctor --config qwen2.5-vl-7b --json"))
def doctor(config: Config = DEFAULT_CONFIG, overrides: Overrides = None, json: Json = False) -> None:
    """Check packages, memory, store, model, corpus, benchmarks and Prefect: pass, warn or fail, and what to do."""
    from tasks.config import load_config
    from tasks.store import Store

    checks = run_checks(load_config(config, overrides or []), Store.from_environment())
    if json:
        print_json([{"name": check.name, "state": check.state, "told": check.message} for check in checks])
    else:
        for check in checks:
            print_line(f"{check.state}  {check.name}: {check.message}")
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def run_checks(config: RunConfig, store: Store) -> list[Check]:
    """Run every check by itself: an exception makes that check fail and stops no other."""
    from flows.cli import doctor_machine as machine
    from flows.cli import doctor_prefect as prefect
    from flows.cli import doctor_settings as settings

    checks: dict[str, Callable[[], Check]] = {
        "python": machine.python,
        "packages": machine.packages,
        "memory": machine.memory,
        "disk": lambda: machine.disk(store),
        "device": lambda: settings.device(config),
        "memory plan": lambda: settings.memory_plan(config),
        "store": lambda: settings.store(store),
        "model": lambda: settings.model(config),
        "corpus": lambda: settings.corpus(config, store),
        "benchmarks": lambda: settings.benchmarks(config),
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
