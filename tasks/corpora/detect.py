"""Choose the kind of corpus for an address that a person typed."""

from __future__ import annotations

from pathlib import Path

from tasks.corpora import CorpusConfig, CorpusSource, FolderCorpus, LaionCorpus
from tasks.corpora.decode import EXTENSIONS


def detect_source(address: str, like: CorpusSource | None = None, prefix: str = "") -> CorpusConfig:
    """A folder corpus for a local folder with image files and no tar; tar shards for any other address.

    A local address becomes absolute, so that the corpus is found from any folder. Limits and masks are those of
    `like`. `prefix` is put before the names of the shards.
    """
    if "://" not in address:
        address = str(Path(address).expanduser().absolute())
    settings = {"prefix": prefix} | ({} if like is None else {"limits": like.limits, "masks": like.masks})
    if _has_loose_pictures(Path(address.removeprefix("file://")).expanduser()):
        return FolderCorpus.model_validate({"path": address} | settings)
    return LaionCorpus.model_validate({"shards": address} | settings)


def _has_loose_pictures(folder: Path) -> bool:
    if not folder.is_dir() or any(folder.glob("*.tar")):
        return False
    return any(file.suffix.lower().removeprefix(".") in EXTENSIONS for file in folder.rglob("*"))
