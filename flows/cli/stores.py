"""Checks of the store before a command uses it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.settings.errors import UserError
from tasks.store import Store


def existing_store() -> Store:
    """The store at ACTIVE_ZERO_STORE. UserError where there is none: a command that only reads creates nothing."""
    store = Store.from_environment()
    if not store.files.exists(store.root):
        raise UserError(
            f"There is no store at {store.url}: set ACTIVE_ZERO_STORE, or start one with `active-zero iterate`."
        )
    if store.files.local and not Path(store.root).is_dir():
        raise UserError(f"{store.url} is a file, and a store is a folder: set ACTIVE_ZERO_STORE.")
    return store


def check_writable(store: Store, advice: str) -> None:
    """UserError where a store on a local disk is not writable, or a store's bucket does not exist; leaves no file."""
    if not store.files.local:
        if not store.files.has_bucket():
            bucket = store.root.partition("/")[0]
            raise UserError(f"There is no bucket {bucket} for the store {store.url}: make it, or {advice}.")
        return
    folder = next(path for path in (Path(store.root), *Path(store.root).parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{store.root} cannot be written ({error.strerror}: {folder}): {advice}.") from None
