"""Cards of what a round leaves behind: its data set, and its trained players. Licences are left for the owner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.reporting.facts import RoundFacts
from tasks.reporting.round_page import RoundPage
from tasks.reporting.text import change_line, decision_line, label_lines, table


@dataclass(frozen=True)
class Provenance:
    """Where a round's results come from."""

    model: str
    """The base model, as the run's settings name it or its folder's digest."""
    corpus: str
    """Address of the corpus."""
    fingerprints: Mapping[str, str]
    """By stage."""


LICENCE = "license: other  # left for the owner: of the pictures, of the base model, and of this data"


def dataset_card(page: RoundPage, rows: Mapping[str, int], provenance: Provenance) -> str:
    """The `README.md` of a data set folder; its head tells `datasets` which files are which split."""
    files = [f"      - split: {split}\n        path: data/{split}.parquet" for split in rows]
    head = ["---", LICENCE, "configs:", "  - config_name: default", "    data_files:", *files, "---"]
    return "\n".join(
        [
            *head,
            f"# Questions of run {page.run}, round {page.number}",
            "",
            "Made by self-play (Active-Zero, arXiv 2602.11241): a model retrieved the pictures, wrote the questions, "
            "and answered each several times. `label` is the majority of its own answers: a pseudo-label, not the "
            "truth. `agreement` is the share of answers that equal it.",
            "",
            *table(["split", "rows"], rows.items()),
            "",
            *_quality(page.facts),
            "",
            "`true_answer` and `label_is_right` are known only where an oracle answers the question. Nothing was "
            "trained on them. `query`, `rank` and `score` say how the picture was found; `vlmevalkit.tsv` holds the "
            "split `train` for VLMEvalKit.",
            "",
            *_sources(page, provenance),
            "",
            "The licences of the pictures are those of their sources, and are not recorded. Fill them in above before "
            "you pass this data on.",
            "",
        ]
    )


def adapter_card(page: RoundPage, role: str, provenance: Provenance, adapter: bool) -> str:
    """The `README.md` of a trained player: what it is, how it was trained and scored, and how it is loaded."""
    head = ["---", LICENCE, f"base_model: {json.dumps(provenance.model)}"]
    head += ["library_name: peft", "---"] if adapter else ["library_name: transformers", "---"]
    return "\n".join(
        [
            *head,
            f"# {role.capitalize()} of run {page.run}, round {page.number}",
            "",
            f"The {role} of round {page.number} of a self-play run (Active-Zero, arXiv 2602.11241), trained by GRPO "
            "from the team of the last promoted round.",
            "",
            *_loading(provenance.model, role, adapter),
            "",
            *_scores(page.facts),
            "",
            "Training data: the questions of this round (`load_dataset` of the folder above this one).",
            "",
            *_sources(page, provenance),
            "",
        ]
    )


def _quality(facts: RoundFacts | None) -> list[str]:
    if facts is None:
        return ["The round is not complete, so its label accuracy is not measured."]
    return [f"- {line}" for line in label_lines(facts)]


def _scores(facts: RoundFacts | None) -> list[str]:
    if facts is None:
        return ["The round is not complete, so it has no scores."]
    lines = [*map(change_line, facts.changes), *(f"since the base model: {change_line(c)}" for c in facts.since_base)]
    listed = (f"- {line}" for line in (*lines, decision_line(facts)))
    return ["Scores of the round's Solver, before and after it, in points:", "", *listed]


def _loading(model: str, role: str, adapter: bool) -> list[str]:
    if not adapter:
        return ["The weights are whole: load this folder as any model of transformers."]
    return [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForImageTextToText",
        "",
        f"base = AutoModelForImageTextToText.from_pretrained({json.dumps(model)})",
        "model = PeftModel.from_pretrained(base, FOLDER)",
        "```",
        "",
        f"or `vllm serve {model} --enable-lora --lora-modules {role}=FOLDER`.",
    ]


def _sources(page: RoundPage, provenance: Provenance) -> list[str]:
    rows = [
        ["base model", provenance.model],
        ["corpus", provenance.corpus],
        ["run, round", f"{page.run}, {page.number}"],
    ]
    rows += [[f"fingerprint of {stage}", fingerprint] for stage, fingerprint in provenance.fingerprints.items()]
    return table(["source", "value"], rows)
