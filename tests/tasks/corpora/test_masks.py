"""Masks: which decoded pictures are excluded, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.corpora.masks import Blocklist, Masks, apply_masks
from tasks.corpora.sample import Sample
from tasks.records import to_table
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_fields


def rows(*values: dict[str, Any]) -> pa.Table:
    plain = {"shard": "0", "width": 100, "height": 100}
    fields = [plain | {"key": f"0/{n}", "sha256": f"{n:064d}"} | value for n, value in enumerate(values)]
    return to_table(Sample, [Sample.model_validate(row) for row in fields])


def reasons(table: pa.Table, masks: Masks | None = None, *blocked: str) -> list[str | None]:
    column: list[str | None] = apply_masks(table, masks or Masks(), Blocklist(frozenset(blocked)))["reason"].to_pylist()
    return column


def test_known_scores_above_the_thresholds_are_masked() -> None:
    table = rows({"punsafe": 0.9}, {"pwatermark": 0.95}, {"punsafe": 0.1, "pwatermark": 0.1}, {})
    assert reasons(table) == ["unsafe: 0.9", "watermark: 0.95", None, None]
    assert reasons(table, Masks(max_unsafe=None, max_watermark=None)) == [None] * 4


def test_every_reason_is_in_the_row() -> None:
    (reason,) = reasons(
        rows({"punsafe": 0.9, "pwatermark": 0.9, "width": 4, "similarity": 0.1}), Masks(min_similarity=0.2)
    )
    assert reason == "too small: 4x100, a side of less than 8; unsafe: 0.9; watermark: 0.9; dissimilar: 0.1"


def test_sizes_and_proportions_have_bounds() -> None:
    table = rows({"width": 7}, {"height": 7}, {"width": 10_001}, {"width": 10_000})
    assert [reason and reason.partition(":")[0] for reason in reasons(table)] == [
        "too small", "too small", "too narrow", None,
    ]  # fmt: skip


@pytest.mark.parametrize("entry", ["0/1", "id-1", "http://one", f"{1:064d}"])
def test_a_blocklist_has_keys_uids_urls_or_hashes(entry: str) -> None:
    table = rows({}, {"uid": "id-1", "url": "http://one"}, {"uid": "id-2"})
    assert reasons(table, None, entry) == [None, "blocked: on a blocklist", None]


def test_of_equal_pictures_the_first_usable_one_is_kept() -> None:
    same = {"sha256": "ab"}
    assert reasons(rows(same | {"punsafe": 0.9}, same, {}, same)) == ["unsafe: 0.9", None, None, "duplicate of 0/1"]


def test_a_row_with_a_reason_keeps_it() -> None:
    assert reasons(rows({"reason": "broken: x", "width": None, "punsafe": 0.9})) == ["broken: x"]


def test_blocklists_are_fingerprinted_by_their_contents(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("# from the makers\n0/1\n\nid-2  # child safety\n")
    (tmp_path / "two.txt").write_text("id-2\n0/1\n")
    first, second = (Masks(blocklists=(str(tmp_path / name),)) for name in ("one.txt", "two.txt"))
    assert first.blocked().entries == {"0/1", "id-2"}
    assert first.blocked().content_id == second.blocked().content_id != Blocklist().content_id
    assert fingerprint_fields(first) == fingerprint_fields(second)


def test_a_missing_blocklist_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"blocklist .* cannot be read"):
        Masks(blocklists=(str(tmp_path / "none.txt"),)).blocked()
