"""A published benchmark, declared: where it comes from, which columns say what, and how it is scored.

The same set is published in two layouts (VLMEvalKit's TSV, and a data set on the Hugging Face hub), so a field names
its columns in order of preference and the first one that a row fills is read. `metadata.subfield` looks into a column
that holds a mapping (or one written as text); `ID+key` is filled where all of its columns are, and joins them. `file`
is there for every row: the split or file that it was read from.
"""

from __future__ import annotations

from pydantic import Field

from tasks.benchmarks.item import Form
from tasks.benchmarks.metrics import Metric
from tasks.settings.base import Settings

Columns = tuple[str, ...]


class Definition(Settings):
    """How a benchmark's rows become items. The defaults read any VLMEvalKit file."""

    name: str = "table"
    repo: str = ""
    """Data set on the Hugging Face hub."""
    split: str = ""
    """Its split, as the paper uses it."""
    files: tuple[tuple[str, ...], ...] = ()
    """VLMEvalKit's files: any of these groups is the set."""
    id: Columns = ("index", "sample_index", "pid", "id", "question_id")
    question: Columns = ("question", "query")
    without_question: str = ""
    """What is asked where the question stands in the picture."""
    images: Columns = ("image", "decoded_image", "images", "image_path")
    """A `*` stands for all columns of that form, in the order of their numbers."""
    options: Columns = ("options", "choices", "option")
    """A list, or a text such as `A. 45; B. 60`; columns `A`, `B`, ... come first, and where there is none, options that
    the question lists itself are found there."""
    answer: Columns = ("answer", "ground_truth", "gt_answer", "label")
    letter: Columns = ()
    """The right option's letter, where `answer` is the option's text."""
    category: Columns = ("category", "l2-category", "task", "subject")
    cluster: Columns = ()
    """Names what items share with others."""
    attributes: dict[str, Columns] = Field(default={})
    """What the own metric goes by, and its columns."""
    index: str = ""
    """A regular expression on the id, whose named groups are further columns."""
    only: dict[str, Columns] = Field(default={})
    """Rows that have such a column must hold one of these values in it."""
    form: Form | None = None
    """What answers look like; None: as each row shows."""
    tolerance: float = 0.0
    """How far off a number may be."""
    asks: dict[str, str] = Field(default={})
    """What is added to a question, by its column `answer_type`."""
    metric: Metric = "accuracy"
    """The benchmark's own figures, beside the plain accuracy that the paper reports for all twelve."""


PLAIN = Definition()
