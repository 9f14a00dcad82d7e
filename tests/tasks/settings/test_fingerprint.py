from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, differences, digest, fingerprint_fields, fingerprint_value


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hot(Config):
    kind: Literal["hot"] = "hot"
    temperature: float = 1


class Cold(Config):
    kind: Literal["cold"] = "cold"
    depth: int = 2
    threads: Annotated[int, Field(ge=1), NotFingerprinted] = 1


class Whole(Config):
    sampling: Hot | Cold = Hot()
    window: tuple[float, float] = (0.3, 0.8)
    stages: tuple[Hot | Cold, ...] = ()
    workers: Annotated[int, NotFingerprinted] = 2
    cache: Annotated[Path, NotFingerprinted] | None = None
    device: Annotated[str | None, NotFingerprinted] = Field(None, description="cpu or cuda")


def test_resources_do_not_affect_fingerprint() -> None:
    elsewhere = Whole(workers=64, cache=Path("/nowhere"), device="cuda")
    assert fingerprint_fields(elsewhere) == fingerprint_fields(Whole())
    assert digest(Whole(stages=(Cold(threads=8),))) == digest(Whole(stages=(Cold(),)))


def test_every_other_field_affects_fingerprint() -> None:
    settings = [
        Whole(),
        Whole(window=(0.4, 0.8)),
        Whole(sampling=Cold()),
        Whole(stages=(Hot(),)),
        Whole(stages=(Hot(), Cold())),
        Whole(stages=(Cold(), Hot())),
    ]
    assert len({digest(setting) for setting in settings}) == len(settings)


def test_a_union_member_is_fingerprinted_as_its_own_class() -> None:
    assert fingerprint_fields(Whole(sampling=Cold()))["sampling"] == {"kind": "cold", "depth": 2}


def test_a_whole_float_is_the_integer_it_equals() -> None:
    assert digest(Hot()) == digest(Hot.model_validate({"temperature": 1.0}))
    assert digest(True) != digest(1)
    assert digest(-0.0) == digest(0)


def test_numbers_that_json_lacks_have_names() -> None:
    assert fingerprint_value([float("nan"), float("inf"), -float("inf")]) == ["nan", "inf", "-inf"]


@given(st.floats(), st.floats())
def test_floats_differ_to_the_last_bit(one: float, other: float) -> None:
    assert (digest(one) == digest(other)) == (one == other or repr(one) == repr(other))


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5))
def test_order_of_keys_does_not_matter(mapping: dict[str, int]) -> None:
    assert digest(mapping) == digest(dict(reversed(list(mapping.items()))))


def test_a_path_is_fingerprinted_by_its_contents(tmp_path: Path) -> None:
    for name, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    one, two, three = (digest(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two != three


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone does not exist"):
        digest(tmp_path / "gone")


def test_a_value_without_fingerprint_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint_value(object())
    with pytest.raises(TypeError, match="function has no fingerprint"):
        fingerprint_value([lambda: None])


def test_differences_name_the_field_and_both_values() -> None:
    old = {"config": {"window_low": 0.3, "top_k": 40}, "seed": 1}
    new = {"config": {"window_low": 0.4, "top_k": 40}, "seed": 1, "extra": []}
    assert differences(old, new) == ["config.window_low: 0.3 -> 0.4", "extra: (absent) -> []"]
    assert differences(new, old) == ["config.window_low: 0.4 -> 0.3", "extra: [] -> (absent)"]
    assert differences(old, old) == []


def test_differences_of_inputs_show_no_digests() -> None:
    old = {"questions": "artifact:aa@11", "solver": "artifact:aa@11", "model": "sha256:aa"}
    new = {"questions": "artifact:bb@22", "solver": "artifact:aa@22", "model": "sha256:bb"}
    assert differences(old, new) == [
        "questions: other input",
        "solver: same input, other contents",
        "model: other contents",
    ]


def test_differences_reach_into_lists_of_models() -> None:
    old, new = (
        fingerprint_fields(Whole(stages=(Hot(), Cold()))),
        fingerprint_fields(Whole(stages=(Hot(), Cold(depth=3)))),
    )
    assert differences(old, new) == ["stages[1].depth: 2 -> 3"]
