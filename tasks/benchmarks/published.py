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
        category=("metadata.subfield", "subfield", "metadata.subject"),
        cluster=("problem_index",),
        attributes={"version": ("problem_version", "metadata.problem_version", "file")},
        metric="mathverse",
    ),
    Definition(
        name="mathvision",
        repo="MathLLMs/MathVision",
        split="test",
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
    ),
    Definition(
        name="we-math",
        repo="We-Math/We-Math",
        split="testmini",
        files=(("WeMath.tsv",),),
        id=("index", "ID+key"),
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
    ),
    Definition(
        name="mmmu",
        repo="MMMU/MMMU",
        split="validation",
        files=(("MMMU_DEV_VAL.tsv",),),
        images=("image", "image_*"),
        category=("category", "subject", "subfield"),
        id_pattern=r"^[a-z]+_(?P<subject>.+)_\d+$",
        keep_rows={"split": ("validation", "val")},
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
        metric="mmmu-pro",
    ),
    Definition(
        name="mmstar",
        repo="Lin-Chen/MMStar",
        split="val",
        files=(("MMStar.tsv",),),
        category=("category",),
    ),
    Definition(
        name="realworldqa",
        repo="xai-org/RealworldQA",
        split="test",
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
