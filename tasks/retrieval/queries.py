"""Real queries, where there are some: an index is tuned and measured on them beside the corpus's captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import digest


@dataclass(frozen=True)
class Asked:
    """Different queries that a Searcher wrote, in the order of the files."""

    texts: tuple[str, ...] = ()

    @property
    def content_id(self) -> str:
        """As part of an index's fingerprinted."""
        return f"sha256:{digest(self.texts)}"

    @classmethod
    def read(cls, urls: Sequence[str]) -> Asked:
        """From text files, one query a line, or Parquet files with a column `query`. UserError naming a bad one."""
        return cls(tuple(dict.fromkeys(query for url in urls for query in _queries(url))))


def _queries(url: str) -> Iterator[str]:
    import fsspec

    files = fsspec.open_files(url, "rb")
    if not files:
        raise UserError(f"retrieval.queries: no file at {url}.")
    for one in files:
        try:
            with one as file:
                yield from _column(file) if one.path.endswith(".parquet") else _lines(file)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"retrieval.queries: {one.path} cannot be read: {first_line(error)}.") from None


def _lines(file: object) -> list[str]:
    text: str = file.read().decode()  # type: ignore[attr-defined]
    return [line.strip() for line in text.splitlines() if line.strip()]


def _column(file: object) -> list[str]:
    """Of a stage's finds, those queries that could be used."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    usable = table.filter(pc.is_valid(table["key"])) if "key" in table.column_names else table
    return [query for query in usable["query"].to_pylist() if query]
