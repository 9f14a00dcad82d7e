"""Real queries of a Searcher: an index is tuned and measured on them, in addition to the corpus's captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import digest


@dataclass(frozen=True)
class QuerySet:
    """Different queries that a Searcher wrote, in the order of their files."""

    texts: tuple[str, ...] = ()

    @property
    def content_id(self) -> str:
        """The queries as part of an index's fingerprint."""
        return f"sha256:{digest(self.texts)}"

    @classmethod
    def read(cls, urls: Sequence[str]) -> QuerySet:
        """Read text files, one query a line, or Parquet files with a column `query`.

        UserError with the name of a file that is missing or cannot be read.
        """
        return cls(tuple(dict.fromkeys(query for url in urls for query in _queries(url))))


def _queries(url: str) -> Iterator[str]:
    import fsspec

    files = fsspec.open_files(url, "rb")
    if not files:
        raise UserError(f"retrieval.queries: no file at {url}.")
    for opener in files:
        try:
            with opener as file:
                yield from _column(file) if opener.path.endswith(".parquet") else _lines(file)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"retrieval.queries: {opener.path} cannot be read: {first_line(error)}.") from None


def _lines(file: object) -> list[str]:
    text: str = file.read().decode()  # type: ignore[attr-defined]
    return [line.strip() for line in text.splitlines() if line.strip()]


def _column(file: object) -> list[str]:
    """The column `query`; of a search stage's rows, without rejected queries."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    usable = table.filter(pc.is_valid(table["key"])) if "key" in table.column_names else table
    return [query for query in usable["query"].to_pylist() if query]
