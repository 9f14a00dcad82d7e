"""Checks that a folder holds a model or an adapter, before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from tasks.engines.request import Adapter
from tasks.settings.errors import UserError

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def check_model(folder: Path) -> None:
    """`UserError` if the folder lacks a configuration, weights, a processor or a tokenizer."""
    if not folder.is_dir():
        raise UserError(f"no model folder at {folder}: give a folder saved by save_pretrained")
    present = {
        "config.json": (folder / "config.json").is_file(),
        "weights (*.safetensors)": any(folder.glob("*.safetensors")),
        "a processor (processor_config.json)": any((folder / name).is_file() for name in PROCESSOR_FILES),
        "a tokenizer (tokenizer.json)": (folder / "tokenizer.json").is_file(),
    }
    if missing := [name for name, is_there in present.items() if not is_there]:
        raise UserError(f"the model folder {folder} lacks {', '.join(missing)}: save the whole model there")


def check_adapter(adapter: Adapter) -> None:
    """`UserError` if the adapter's folder does not hold a PEFT adapter."""
    if missing := [name for name in ADAPTER_FILES if not (adapter.path / name).is_file()]:
        raise UserError(f"the adapter folder {adapter.path} lacks {', '.join(missing)}: train the adapter again")
