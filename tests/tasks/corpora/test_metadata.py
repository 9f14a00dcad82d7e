"""Metadata: every data set's column names give the same fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.corpora.metadata import DamagedMetadata, download_failure, facts_of, read_json, read_parquet, sample_fields
from tests.fixtures.shards import write_parquet


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"URL": "u", "TEXT": " t "}, {"url": "u", "caption": "t"}),
        ({"Caption": "c", "text": "t"}, {"caption": "c"}),
        ({"Caption": None, "text": "t"}, {"caption": "t"}),
        ({"PUNSAFE": 0.25, "pWatermark": "0.5"}, {"punsafe": 0.25, "pwatermark": 0.5}),
        ({"NSFW": "UNSURE"}, {"punsafe": 0.5}),
        ({"NSFW": "nonsense", "similarity": float("nan")}, {"punsafe": None}),
        ({"clip_l14_similarity_score": 0.2, "uid": "ab"}, {"similarity": 0.2, "uid": "ab"}),
        ({"hash": -7}, {"uid": "-7"}),
        ({"other": 1}, {}),
    ],
)
def test_columns_are_found_by_alias_without_case(row: dict[str, Any], fields: dict[str, Any]) -> None:
    assert sample_fields(facts_of(row)) == fields


@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        ('{"Image Orientation": "Rotated 90 CW"}', 6),
        ('{"Image Orientation": "Mirrored horizontal then rotated 90 CCW"}', 5),
        ('{"Image Orientation": "Horizontal (normal)"}', None),
        ('{"Orientation": 8}', 8),
        ({"Image Orientation": "3"}, 3),
        ('{"Image Orientation": "99"}', None),
        ("{}", None),
        ("not json", None),
        ("[" * 100_000, None),
        (None, None),
    ],
)
def test_orientation_is_read_as_img2dataset_keeps_it(exif: Any, orientation: int | None) -> None:
    assert sample_fields(facts_of({"EXIF": exif})).get("orientation") == orientation


def test_a_failed_download_says_why() -> None:
    assert download_failure(facts_of({"status": "failed_to_download", "error_message": "404"})) == "404"
    assert download_failure(facts_of({"status": "failed_to_resize"})) == "failed_to_resize"
    assert download_failure(facts_of({"STATUS": "success"})) is download_failure({}) is None


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff\xfe", b"{" * 100_000, json.dumps({"a": {}}).encode()])
def test_json_without_facts_is_no_error(data: bytes) -> None:
    assert read_json(data) == {}


def test_rows_without_a_key_are_skipped_unless_all_have_none(tmp_path: Path) -> None:
    write_parquet(tmp_path, "0", {"key": [None, "a"], "caption": ["one", "two"]})
    assert set(read_parquet(tmp_path / "0.parquet")) == {"a"}
    write_parquet(tmp_path, "1", {"caption": ["one"]})
    with pytest.raises(DamagedMetadata, match="no column `key`"):
        read_parquet(tmp_path / "1.parquet")
