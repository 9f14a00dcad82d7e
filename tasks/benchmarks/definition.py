"""The declaration of a published benchmark: its source, its columns, and its metric.

One data set is published in two layouts (VLMEvalKit's TSV, and a data set on the Hugging Face hub), so a field lists
its columns in order of preference, and the first column that a row fills is read. Three notations:

- `metadata.subfield` reads a key of a column that holds a mapping (or a mapping written as text);
- `ID+key` joins several columns, and is filled only where all of them are;
- `file` exists in every row: the split or file that the row was read from.
"""

from __future__ import annotations

from pydantic import Field

from tasks.benchmarks.item import AnswerFormat
from tasks.benchmarks.metrics import Metric
from tasks.settings.base import Settings

Columns = tuple[str, ...]


class Definition(Settings):
    """How a benchmark's rows become items. The defaults read any VLMEvalKit file."""

    name: str = "table"
    repo: str = ""
    """Data set on the Hugging Face hub."""
    split: str = ""
    """The data set's split that the paper scores."""
    files: tuple[tuple[str, ...], ...] = ()
    """VLMEvalKit's file names. Each group is the complete benchmark."""
    id: Columns = ("index", "sample_index", "pid", "id", "question_id")
    question: Columns = ("question", "query")
    default_question: str = ""
    """The question where only the picture shows it."""
    images: Columns = ("image", "decoded_image", "images", "image_path")
    """A `*` stands for all columns of that pattern, in the order of their numbers."""
    options: Columns = ("options", "choices", "option")
    """A list, or a text such as `A. 45; B. 60`. Columns `A`, `B`, ... come first; without any of these columns, options
    are read from the question's text."""
    answer: Columns = ("answer", "ground_truth", "gt_answer", "label")
    answer_letter: Columns = ()
    """The right option's letter, where `answer` holds the option's text."""
    category: Columns = ("category", "l2-category", "task", "subject")
    cluster: Columns = ()
    """Columns that name the group of dependent items."""
    attributes: dict[str, Columns] = Field(default={})
    """Attributes that the metric reads, with their columns."""
    id_pattern: str = ""
    """A regular expression on the id; its named groups are further columns."""
    splits: Columns = ()
    """Names of the scored split's files in a data set's folder, with `*`. Files of other splits are not read."""
    leave_out: dict[str, Columns] = Field(default={})
    """Column to values. Rows with such a value are not scored."""
    keep_rows: dict[str, Columns] = Field(default={})
    """Column to accepted values. Rows with another value are left out; rows without the column are kept."""
    answer_format: AnswerFormat | None = None
    """Format of all answers; None: decided row by row."""
    tolerance: float = 0.0
    """Greatest difference from the target at which a number is right."""
    instructions: dict[str, str] = Field(default={})
    """Text appended to the question, by the row's `answer_type` and `precision` (`float 2`), or `answer_type` alone."""
    unit: Columns = ()
    """The unit in which the answer is asked."""
    decimals: Columns = ()
    """Decimal places to which the authors round an answer before they compare it."""
    lists_answers: bool = False
    """Whether a list as the answer holds several right answers; otherwise it is one answer."""
    max_rejected: float = 0.1
    """The file is refused if more than this share of its rows cannot be asked. Rows without a picture do not count."""
    metric: Metric = "accuracy"
    """The authors' own metric, reported beside the plain accuracy that the paper reports for all twelve."""


GENERIC = Definition()
"""Reads any VLMEvalKit file."""
