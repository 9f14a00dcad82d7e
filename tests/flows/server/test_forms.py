"""What a deployment's form accepts, checked as the Prefect server checks it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.selfplay import play_rounds
from flows.server.deployments import build_corpus, score
from flows.server.forms import form
from tasks.config import load_config

FORMS = {
    flow.name: form(parameter_schema(flow).model_dump_for_openapi()) for flow in (play_rounds, build_corpus, score)
}


def message(flow: str = "self-play", **parameters: object) -> str:
    """What the server answers; empty where it accepts the values."""
    try:
        validate(parameters, FORMS[flow], raise_on_error=True, ignore_required=True)
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("low", "'one setting with its value, such as filter.low=0.5' was expected"),
        ("filter.lowx=1", "'filter.NAME=..., NAME being one of answers, early_stopping, low, high, "),
        ("filters.low=1", "'NAME=..., NAME being one of model, seed, pictures, "),
        ("filter.low.x=1", "'a shorter name: this setting has no further parts' was expected"),
        ("filter.low=abc", "'filter.low=a number, at least 0, at most 1' was expected"),
        ("filter.low=-1", "'filter.low=a number, at least 0, at most 1' was expected"),
        ("filter.low=1.01", "'filter.low=a number, at least 0, at most 1' was expected"),
        ("engine.workers=0", "'engine.workers=a whole number, at least 1' was expected"),
        ("filter.gold.share=0.51", "'filter.gold.share=a number, above 0, at most 0.5' was expected"),
        ("train.solver.learning_rate=0.0", "'train.solver.learning_rate=a number, above 0' was expected"),
        ("promote.least_mean_gain=-101", "'promote.least_mean_gain=a number, at least -100, at most 100' was expected"),
        ("seed=0.5", "'seed=a whole number, at least 0' was expected"),
        ("engine.kind=vlm", "'engine.kind=ray or scripted or server or transformers or vllm' was expected"),
        ("retrieval.fusion=perhaps", "'retrieval.fusion=true or false' was expected"),
        ("corpus.source.shards=s3://key:secret@bucket/x", "'an address without a password, token or signature"),
    ],
)
def test_a_wrong_override_is_refused_in_words(override: str, words: str) -> None:
    found = message(overrides=["seed=1", override])
    assert found.startswith("Validation failed for field 'overrides[1]'. Failure reason: ")
    assert words in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("flow", "field"),
    [
        ("self-play", "run"), ("self-play", "config"), ("corpus", "shards"), ("corpus", "out"), ("corpus", "config"),
        ("benchmark", "model"), ("benchmark", "benchmark"), ("benchmark", "config"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("address", ["s3://key:hidden@bucket/x", "https://host/x?X-Amz-Signature=hidden"])
def test_no_field_accepts_a_secret(flow: str, field: str, address: str) -> None:
    found = message(flow, **{field: address})
    assert "an address without a password, token or signature" in found
    assert "hidden" not in found


def test_a_wrong_run_name_is_told_what_a_name_is() -> None:
    assert "a name of a-z, 0-9," in message(run="../x")
    assert message(run="mine-2.b_c") == ""


@pytest.mark.parametrize("name", ["tiny", "qwen2.5-vl-3b", "qwen2.5-vl-7b", "paper", "paper+safe"])
def test_every_value_of_every_config_is_accepted(name: str) -> None:
    overrides = assignments(load_config(name).model_dump(mode="json"))
    assert message(overrides=overrides) == ""


def assignments(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """Each setting as an override, and each mapping as one."""
    found: list[str] = []
    for name, value in settings.items():
        found.append(f"{prefix}{name}={json.dumps(value)}")
        if isinstance(value, dict):
            found += assignments(value, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize(
    "override",
    [
        "filter.low=0.5", "filter.low = .5", "train.solver.learning_rate=1e-4", "engine={kind: vllm}",
        "engine.workers=2", "filter.high=1.0", "filter.gold.share=.5", "promote.least_mean_gain=-100",
        "domains=[{name: x, focus: y}]", "model=run:other@3", "corpus.source=null", "patience=1_000",
        "corpus.source.shards=s3://bucket/{0..9}.tar", "retrieval.index.kind='exact'", "filter.gold=null",
    ],
)  # fmt: skip
def test_what_the_command_line_takes_is_accepted(override: str) -> None:
    assert message(overrides=[override]) == ""
