"""The weights of a role: a base model, and the adapter or whole model that a training stage made from it."""

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
    """A model folder, and an adapter on it if there is one."""

    model: str
    adapter: Adapter | None


def weights_of(base: Path | HubModel, trained: Artifact[Step] | None) -> Weights:
    """The base model with a training stage's adapter, or the stage's whole model.

    Adapters are named after their contents, because engines cache them by (name, path). A base model of the hub is
    downloaded unless it is on this disk.
    """
    if trained is not None and any(file.name.startswith("model/") for file in trained.manifest.files):
        return Weights(str(trained.folder("model")), None)
    model = str(base if isinstance(base, Path) else base.folder())
    if trained is None:
        return Weights(model, None)
    name = f"{trained.manifest.stage}-{trained.manifest.contents[:12]}"
    return Weights(model, Adapter(name, trained.folder("adapter")))


def base_model(name: str) -> Path | HubModel:
    """The base model `name`: a folder as in `model_folder`, or else a hub name (`owner/model`, `owner/model@revision`).

    UserError if it is neither, if the folder is no complete model, or if the hub does not resolve the revision.
    """
    if (folder := model_folder(name)) is not None:
        check_model(folder)
        return folder
    if not Path(name).exists() and (found := hub_model(name)) is not None:
        return found
    raise UserError(f"model {name} is neither a folder with a config.json nor a hub name such as owner/model")


def model_folder(name: str) -> Path | None:
    """The model folder `name`, relative to the working directory or to the repository; None where there is no model."""
    folders = (Path(name), ROOT / name)
    return next((folder.resolve() for folder in folders if (folder / "config.json").is_file()), None)
