"""Train the shipped tiny models again from the micro world, measure them, and write their model card.

    python -m flows.pretrain [--models infra/models] [--only vlm|clip|card]

On one core the vision-language model takes about 50 minutes and CLIP about 10 (extrapolated from seconds a step).
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
    """Train the vision-language model of all three roles."""
    from tasks.pretraining.vlm import Pretraining, pretrain

    recipe = Pretraining()
    _timed("vlm", recipe.steps, lambda on_step: pretrain(recipe, folder / "vlm", on_step))


def train_clip(folder: Path) -> None:
    """Train the open_clip model that finds pictures by text."""
    from tasks.pretraining.clip import ClipPretraining, pretrain_clip

    recipe = ClipPretraining()
    _timed("clip", recipe.steps, lambda on_step: pretrain_clip(recipe, folder / "clip", on_step))


def write_card(folder: Path) -> None:
    """Measure both models and write `README.md` next to them."""
    from tasks.pretraining.card import model_card

    (folder / "README.md").write_text(model_card(folder))


def _timed(name: str, steps: int, train: Callable[[Callable[[int, float], None]], None]) -> None:
    """Run a training with a progress bar and print how long it took."""
    started = time.monotonic()
    with track(steps, name) as progress:
        train(lambda step, loss: progress.advance(1, loss=loss))
    typer.echo(f"{name}: {steps} steps in {(time.monotonic() - started) / 60:.0f} minutes", err=True)


def main(
    models: Annotated[Path, typer.Option(help="Folder that the models are written to.")] = ROOT / "infra" / "models",
    only: Annotated[Part | None, typer.Option(help="Run one part only: vlm, clip or card.")] = None,
) -> None:
    """Train the shipped tiny models from scratch, measure them, and write their model card."""
    import torch

    torch.set_num_threads(1)
    work: dict[Part, Callable[[Path], None]] = {"vlm": train_vlm, "clip": train_clip, "card": write_card}
    for part in (only,) if only else PARTS:
        work[part](models)


if __name__ == "__main__":
    typer.run(main)
