"""A round for other programs: its questions as a data set, and its trained players with a card each."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.history import TRAINED
from flows.pages.rounds import page_of_round
from flows.round import STAGES, round_place
from tasks.records import Step
from tasks.reporting.dataset_folder import write_dataset
from tasks.reporting.model_cards import Provenance, adapter_card, dataset_card
from tasks.reporting.round_page import RoundPage
from tasks.settings.errors import UserError
from tasks.store import Place, Store


@dataclass(frozen=True)
class Export:
    """What to write."""

    run: str
    number: int
    corpus: str | None
    """The corpus's address, where it is not in the store."""
    base_model: str | None
    """How the cards name the base model; None: as the run's settings do."""
    players: bool
    """Whether the trained weights are written too."""


def write_export(store: Store, export: Export, folder: Path) -> dict[str, int]:
    """Write the folder, which must be new or empty. Returns the number of rows by split."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: give another --to.")
    page = page_of_round(store, export.run, export.number, export.corpus)
    if not page.labelled:
        raise UserError(f"round {export.number} of {export.run} has no labelled questions yet.")
    place = round_place(store, export.run, export.number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = write_dataset(page, folder)
        provenance = provenance_of(place, page, export.base_model)
        (folder / "README.md").write_text(dataset_card(page, rows, provenance))
        if export.players:
            _write_players(place, page, provenance, folder / "players")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): give another --to.") from None
    return rows


def provenance_of(place: Place, page: RoundPage, base_model: str | None) -> Provenance:
    """The base model, the corpus and the fingerprints of the round's stages."""
    manifests = [manifest for stage in STAGES if (manifest := place.manifest(stage))]
    teams = [manifest.fingerprinted.get("team") for manifest in manifests]
    model = next((team["model"] for team in teams if isinstance(team, dict)), "unknown")
    named = str(model["repository"] if isinstance(model, dict) and "repository" in model else model)
    return Provenance(base_model or named, page.corpus, {each.stage: each.fingerprint[:12] for each in manifests})


def _write_players(place: Place, page: RoundPage, provenance: Provenance, folder: Path) -> None:
    """The weights of each role that the round has trained, in a folder each, with a card."""
    for role, stage in TRAINED.items():
        artifact = place.find(stage, Step)
        if artifact is None:
            continue
        adapter = any(file.name.startswith("adapter/") for file in artifact.manifest.files)
        shutil.copytree(artifact.folder("adapter" if adapter else "model"), folder / role)
        (folder / role / "README.md").write_text(adapter_card(page, role, provenance, adapter))
