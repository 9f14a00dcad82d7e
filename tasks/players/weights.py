"""The weights of a player: a base model, and what a training stage made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.engines.model_folder import check_model
from tasks.engines.request import Adapter
from tasks.players.hub import HubModel, hub_model
from tasks.records import Step
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT
from tasks.store import Artifact


@dataclass(frozen=True)
class Weights:
    """A model and an adapter on it, if any."""

    model: str
    adapter: Adapter | None


def weights_of(base: Path | HubModel, trained: Artifact[Step] | None) -> Weights:
    """What a training stage left: an adapter, or a whole model. Adapters are named after their contents, since engines
    cache by (name, path). A base model of the hub is downloaded here if it is not on this disk yet."""
    if trained is not None and any(file.name.startswith("model/") for file in trained.manifest.files):
        return Weights(str(trained.folder("model")), None)
    model = str(base if isinstance(base, Path) else base.folder())
    if trained is None:
        return Weights(model, None)
    name = f"{trained.manifest.stage}-{trained.manifest.contents[:12]}"
    return Weights(model, Adapter(name, trained.folder("adapter")))


def base_model(name: str) -> Path | HubModel:
    """A folder from here or from the repository's root, else a hub name (`owner/model`, `owner/model@revision`).
    UserError if neither, if the folder lacks a part of a model, or if the hub does not say which commit is meant."""
    if (folder := model_folder(name)) is not None:
        check_model(folder)
        return folder
    if not Path(name).exists() and (found := hub_model(name)) is not None:
        return found
    raise UserError(f"model {name} is neither a folder with a config.json nor a hub name such as owner/model")


def model_folder(name: str) -> Path | None:
    """The folder of that name, from here or from the repository's root; None where there is no model in it."""
    folders = (Path(name), ROOT / name)
    return next((folder.resolve() for folder in folders if (folder / "config.json").is_file()), None)
