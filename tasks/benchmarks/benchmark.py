"""What every kind of benchmark must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from tasks.benchmarks.item import BenchmarkRows
from tasks.benchmarks.metrics import Metric


class Benchmark(Protocol):
    """A set of questions about pictures with known answers, and the metric that its authors report.

    A kind of benchmark is a `Settings` class with a field `kind`, in a file of its own, and one arm of the union
    `BenchmarkConfig`. Its fields enter the fingerprint of every stage that scores it, so they must determine the items:
    files are declared as `Path`, which is fingerprinted by contents. Nothing is downloaded.
    """

    @classmethod
    def names(cls) -> Sequence[str]:
        """The names that `named` knows, for error messages."""
        ...

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The benchmark that a name or path denotes; None if it denotes none of this kind.

        UserError if the name is known but its files are missing.
        """
        ...

    @property
    def metric(self) -> Metric:
        """The authors' own metric, reported beside plain accuracy."""
        ...

    def read(self) -> BenchmarkRows:
        """All items, in the same order at each call, and the rows that cannot be asked.

        UserError if a file cannot be read, or if too many rows cannot be asked.
        """
        ...
