"""Is this something an engine can load? Asked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from tasks.engines.request import Adapter
from tasks.settings.errors import UserError

PROCESSOR = ("processor_config.json", "preprocessor_config.json")


def check_model(folder: Path) -> None:
    """UserError if this is no folder with a configuration, weights, a processor and a tokenizer."""
    if not folder.is_dir():
        raise UserError(f"no model folder at {folder}: give a folder saved by save_pretrained")
    missing = [
        what
        for what, found in {
            "config.json": (folder / "config.json").is_file(),
            "weights (*.safetensors)": any(folder.glob("*.safetensors")),
            "a processor (processor_config.json)": any((folder / name).is_file() for name in PROCESSOR),
            "a tokenizer (tokenizer.json)": (folder / "tokenizer.json").is_file(),
        }.items()
        if not found
    ]
    if missing:
        raise UserError(f"the model folder {folder} lacks {', '.join(missing)}: save the whole model there")


def check_adapter(adapter: Adapter) -> None:
    """UserError if the adapter's folder does not hold a PEFT adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    missing = [name for name in names if not (adapter.path / name).is_file()]
    if missing:
        raise UserError(f"the adapter folder {adapter.path} lacks {', '.join(missing)}: train the adapter again")
