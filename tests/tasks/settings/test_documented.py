from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tasks.config import load_config
from tasks.settings.documented import documented_yaml
from tasks.settings.overlay import CONFIGS

PROFILES = sorted(
    path.name
    for path in CONFIGS.glob("*.yaml")
    if isinstance(yaml.safe_load(path.read_text()), dict) and not path.name.startswith("rates-")
)


def descriptions(settings: BaseModel) -> list[str]:
    """The descriptions of all fields that are no items of a list."""
    found = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        found += [field.description] if field.description and not field.exclude else []
        found += descriptions(value) if isinstance(value, BaseModel) else []
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_a_documented_profile_loads_to_the_same_settings(profile: str, tmp_path: Path) -> None:
    settings = load_config(profile)
    file = tmp_path / "resolved.yaml"
    file.write_text(documented_yaml(settings))
    assert load_config(file) == settings


@pytest.mark.parametrize("profile", PROFILES)
def test_every_description_is_a_comment_in_order(profile: str) -> None:
    settings = load_config(profile)
    text = documented_yaml(settings)
    comments = " ".join(line.strip().lstrip("# ") for line in text.splitlines() if line.strip().startswith("#"))
    position = 0
    assert len(descriptions(settings)) > 100
    for description in descriptions(settings):
        position = comments.index(" ".join(description.split()), position)


def test_a_nested_model_is_indented_below_its_comment() -> None:
    text = documented_yaml(load_config(overrides=["seed=11"]))
    assert "\nseed: 11\n" in text
    assert "\nengine:\n  kind: transformers\n" in text
    assert max(map(len, text.splitlines())) <= 120
