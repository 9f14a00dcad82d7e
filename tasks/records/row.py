"""The base class of all rows, and the Arrow schema that derives from a row class.

Rows are frozen and refuse unknown fields. The class is the only declaration of a file's columns. Pictures travel as
keys (`<shard stem>/<sample key>`), never as bytes. A rejected row stays in its file with a `reason`; `reason is None`
means that the row was kept.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin

import pyarrow as pa

from tasks.settings.base import Frozen


class Row(Frozen):
    """One row of an artifact: frozen, closed, with an Arrow schema of its own."""

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """The Arrow schema derived from the annotations; `X | None` becomes a nullable column."""
        return pa.schema([_field(name, info.annotation) for name, info in cls.model_fields.items()])

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """The rows of an Arrow table whose columns are this class's fields."""
        return [cls.model_validate(record) for record in table.to_pylist()]


R = TypeVar("R", bound=Row)


def to_table(row_type: type[Row], rows: Sequence[Any] | pa.Table) -> pa.Table:
    """Rows as an Arrow table with `row_type`'s schema (also when there are none). A table must have its columns."""
    if isinstance(rows, pa.Table):
        return rows.cast(row_type.arrow_schema())
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=row_type.arrow_schema())


def write_rows(row_type: type[Row], rows: Sequence[Any], path: Path) -> Path:
    """Write rows as a Parquet file beside a stage's own; returns its path."""
    import pyarrow.parquet as pq

    pq.write_table(to_table(row_type, rows), path)
    return path


def read_rows(row_type: type[R], path: Path) -> list[R]:
    """The rows of a file that `write_rows` wrote."""
    import pyarrow.parquet as pq

    return row_type.from_table(pq.ParquetFile(path).read(use_threads=False))


_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _field(name: str, annotation: Any) -> pa.Field:
    nullable = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return pa.field(name, _arrow_type(annotation), nullable=nullable)


def _arrow_type(annotation: Any) -> pa.DataType:
    match get_origin(annotation), get_args(annotation):
        case (origin, (inner, other)) if origin in (Union, types.UnionType) and other is type(None):
            return _arrow_type(inner)
        case (origin, values) if origin is Literal and all(isinstance(value, str) for value in values):
            return pa.string()
        case (origin, (item, end)) if origin is tuple and end is ...:
            return pa.list_(_field("item", item))
    if annotation in _ARROW:
        return _ARROW[annotation]
    raise TypeError(f"{annotation} has no Arrow type: use str, int, float, bool, Literal[str], X | None, tuple[X, ...]")
