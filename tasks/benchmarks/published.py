"""The published benchmarks: the twelve of the paper. One entry here adds a benchmark.

Source of the column names: VLMEvalKit's data set classes (vlmeval/dataset: image_base, image_mcq, image_vqa,
image_yorn, dynamath; utils: wemath, mathverse, mathvista, mathv, logicvista, yorn), and code that loads the data sets
from the Hugging Face hub (each entry's `repo`). The paper scores all twelve by plain accuracy; `metric` is the metric
that the benchmark's authors report.
"""

from __future__ import annotations

from tasks.benchmarks.definition import Definition

_MATHVERSE_FILES = tuple(f"MathVerse_MINI{version}.tsv" for version in ("TDom", "TLite", "VInt", "VDom", "VOnly"))
_HALLUSION_ID = r"_(?P<set_id>\d+)_(?P<figure_id>\d+)_(?P<question_id>\d+)$"


def _set_columns(column: str) -> tuple[str, ...]:
    """HallusionBench restarts figure and question numbers in every set, and set numbers in every subcategory."""
    return tuple(f"category+{kind}+set_id+{column}" for kind in ("l2-category", "subcategory"))


_HINT = "Please answer the question requiring {} and provide the final {}, e.g., {}, at the end."
_MATHVISTA_HINTS = {
    "integer": _HINT.format("an integer answer", "value", "1, 2, 3"),
    "float 1": _HINT.format("a floating-point number with one decimal place", "value", "1.2, 1.3, 1.4"),
    "float 2": _HINT.format("a floating-point number with two decimal places", "value", "1.23, 1.34, 1.45"),
    "list": _HINT.format("a Python list as an answer", "list", "[1, 2, 3], [1.2, 1.3, 1.4]"),
}
"""What MathVista's authors ask for, by the type and precision of the answer (`create_query.py`)."""

_DEFINITIONS = (
    Definition(
        name="mathverse",
        repo="AI4Math/MathVerse",
        split="testmini",
        files=(
            ("MathVerse_MINIV.tsv",),
            ("MathVerse_MINI.tsv",),
            _MATHVERSE_FILES,
        ),
        question=("question", "query_wo", "question_for_eval"),
        splits=("testmini", "testmini_*"),
        category=("metadata.subfield", "subfield", "metadata.subject"),
        cluster=("problem_index",),
        attributes={"version": ("problem_version", "metadata.problem_version", "file")},
        metric="mathverse",
    ),
    Definition(
        name="mathvision",
        repo="MathLLMs/MathVision",
        split="test",
        splits=("test",),
        files=(("MathVision.tsv",), ("MathVision_MINI.tsv",)),
        images=("decoded_image", "image"),
        category=("category", "subject"),
    ),
    Definition(
        name="mathvista",
        repo="AI4Math/MathVista",
        split="testmini",
        files=(("MathVista_MINI.tsv",),),
        question=("question",),
        images=("decoded_image", "image"),
        answer_letter=("answer_option",),
        category=("task", "metadata.task"),
        splits=("testmini",),
        unit=("unit",),
        decimals=("precision",),
        instructions=_MATHVISTA_HINTS,
    ),
    Definition(
        name="we-math",
        repo="We-Math/We-Math",
        split="testmini",
        files=(("WeMath.tsv",),),
        id=("index", "ID+key"),
        splits=("testmini",),
        images=("image", "image_path"),
        category=("key",),
        cluster=("ID",),
        attributes={"problem": ("ID",), "step": ("key",)},
        metric="we-math",
    ),
    Definition(
        name="dynamath",
        repo="DynaMath/DynaMath_Sample",
        split="sample_variant1 ... sample_variant10",
        files=(("DynaMath.tsv",),),
        id=("index", "file+id"),
        splits=("sample_variant*",),
        images=("decoded_image", "image"),
        category=("subject",),
        cluster=("qid", "id"),
        attributes={"seed": ("qid", "id")},
        tolerance=0.001,
        instructions={"float": "Give the answer as a number with three decimals."},
        metric="dynamath",
    ),
    Definition(
        name="logicvista",
        repo="lscpku/LogicVista",
        split="test",
        files=(("LogicVista.tsv",),),
        category=("skill", "broad_capability"),
        answer_format="letters",
        splits=("test",),
    ),
    Definition(
        name="mmmu",
        repo="MMMU/MMMU",
        split="validation",
        files=(("MMMU_DEV_VAL.tsv",),),
        images=("image", "image_*"),
        category=("category", "subject", "subfield"),
        id_pattern=r"^[a-z]+_(?P<subject>.+)_\d+$",
        splits=("validation",),
        keep_rows={"split": ("validation", "val")},
        lists_answers=True,
    ),
    Definition(
        name="mmmu-pro",
        repo="MMMU/MMMU_Pro",
        split="test",
        files=(("MMMU_Pro_10c.tsv", "MMMU_Pro_V.tsv"), ("MMMU_Pro_10c.tsv",), ("MMMU_Pro_V.tsv",)),
        id=("file+index", "file+id"),
        default_question="Answer the multiple choice question in the picture.",
        images=("image", "image_*"),
        category=("category", "subject"),
        attributes={"setting": ("file",)},
        splits=("test",),
        leave_out={"file": ("standard (4 options)",)},
        metric="mmmu-pro",
    ),
    Definition(
        name="mmstar",
        repo="Lin-Chen/MMStar",
        split="val",
        splits=("val",),
        files=(("MMStar.tsv",),),
        category=("category",),
    ),
    Definition(
        name="realworldqa",
        repo="xai-org/RealworldQA",
        split="test",
        splits=("test",),
        files=(("RealWorldQA.tsv",),),
        images=("image",),
    ),
    Definition(
        name="visnumbench",
        repo="GML-FMGroup/VisNumBench",
        split="train",
        files=(("VisNumBench.tsv",),),
        category=("category", "class", "attribute", "type", "task"),
    ),
    Definition(
        name="hallusionbench",
        repo="lmms-lab/HallusionBench",
        split="image",
        splits=("image",),
        files=(("HallusionBench.tsv",),),
        id=("index", "category+subcategory+set_id+figure_id+question_id"),
        category=("category",),
        id_pattern=_HALLUSION_ID,
        cluster=_set_columns("figure_id"),
        attributes={"figure": _set_columns("figure_id"), "question": _set_columns("question_id")},
        answer_format="yes or no",
        metric="hallusionbench",
    ),
)

PUBLISHED: dict[str, Definition] = {definition.name: definition for definition in _DEFINITIONS}
"""Definitions by name."""
