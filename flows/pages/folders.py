"""Folders of pages on this machine's disk."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tasks.settings.errors import UserError


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a page into a folder; an earlier page there is replaced once the new one is whole.

    UserError where the folder holds something else, or cannot be written.
    """
    if folder.exists() and not _is_replaceable(folder):
        raise UserError(f"{folder} exists and is no page of Active-Zero: give another --to.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            _write(files, Path(temporary) / "new")
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            (Path(temporary) / "new").rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): give another --to.") from None


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _is_replaceable(folder: Path) -> bool:
    """Whether the folder is empty, or a page that this program wrote."""
    if not folder.is_dir():
        return False
    inside = {path.name for path in folder.iterdir()}
    return not inside or {"index.html", "page.js", "data"} <= inside
