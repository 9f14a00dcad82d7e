"""Trains the embedded base models again from the micro world, measures them, and writes their card.

    python -m flows.pretrain [--models infra/models] [--only vlm|clip|card]

By the measured seconds a step: about 50 minutes for the language model and 10 for CLIP, on one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from tasks.execution.progress import track
from tasks.settings.overlay import ROOT

Part = Literal["vlm", "clip", "card"]
PARTS: tuple[Part, ...] = ("vlm", "clip", "card")


def train_vlm(folder: Path) -> None:
    """The vision-language model of all three roles."""
    from tasks.pretraining.vlm import Pretraining, pretrain

    recipe = Pretraining()
    _timed("vlm", recipe.steps, lambda on_step: pretrain(recipe, folder / "vlm", on_step))


def train_clip(folder: Path) -> None:
    """The open_clip model that finds pictures by text."""
    from tasks.pretraining.clip import ClipPretraining, pretrain_clip

    recipe = ClipPretraining()
    _timed("clip", recipe.steps, lambda on_step: pretrain_clip(recipe, folder / "clip", on_step))


def write_card(folder: Path) -> None:
    """Measures both models and writes `README.md` beside them."""
    from tasks.pretraining.card import describe

    (folder / "README.md").write_text(describe(folder))


def _timed(name: str, steps: int, train: Callable[[Callable[[int, float], None]], None]) -> None:
    """Runs a training with progress and says how long it took."""
    started = time.monotonic()
    with track(steps, name) as progress:
        train(lambda step, loss: progress.advance(1, loss=loss))
    typer.echo(f"{name}: {steps} steps in {(time.monotonic() - started) / 60:.0f} minutes", err=True)


def main(
    models: Annotated[Path, typer.Option(help="where they are put")] = ROOT / "infra" / "models",
    only: Annotated[Part | None, typer.Option(help="one part: vlm, clip or card")] = None,
) -> None:
    """Train the embedded base models from scratch, measure them, and write their card."""
    import torch

    torch.set_num_threads(1)
    work: dict[Part, Callable[[Path], None]] = {"vlm": train_vlm, "clip": train_clip, "card": write_card}
    for part in (only,) if only else PARTS:
        work[part](models)


if __name__ == "__main__":
    typer.run(main)
