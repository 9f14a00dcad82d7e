from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from tasks.benchmarks import Tsv, World, open_benchmark
from tasks.errors import UserError
from tasks.identity import digest
from tasks.world import oracle
from tasks.world.heldout import items as world_items


def picture(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


RED = {"index": "0", "image": picture("red"), "question": "Which colour?", "answer": "B", "A": "blue", "B": "red"}


def test_world_items_carry_the_oracles_answers_and_their_own_picture() -> None:
    items = World(split="heldout", count=48).items()
    for item, made in zip(items, world_items("heldout", 48), strict=True):
        assert oracle.answer(made.scene.url, item.question) == item.target
        assert item.picture.data == made.scene.png()
    assert len({item.domain for item in items}) == 16


def test_heldout_has_at_least_600_items_evenly_over_domains_and_shares_none_with_validation() -> None:
    heldout, validation = open_benchmark("world:heldout"), open_benchmark("world:validation")
    assert isinstance(heldout, World)
    assert isinstance(validation, World)
    assert heldout.count >= 600
    assert heldout.count % 48 == 0
    pictures = {item.picture.data for item in validation.model_copy(update={"count": 96}).items()}
    assert not pictures & {item.picture.data for item in heldout.model_copy(update={"count": 96}).items()}


def test_a_choice_carries_its_options_and_answers_by_letter(tmp_path: Path) -> None:
    (item,) = Tsv(path=write(tmp_path / "colours.tsv", RED)).items()
    assert item.question.splitlines()[:4] == ["Question: Which colour?", "Options:", "A. blue", "B. red"]
    assert (item.target, item.kind, item.domain) == ("B", "short_answer", "colours")
    assert item.picture.image.getpixel((0, 0)) == (255, 0, 0)


def test_an_open_question_stands_alone_and_a_number_is_asked_for_as_one(tmp_path: Path) -> None:
    row = {"index": "7", "image": picture("red"), "question": "How many?", "answer": "1,200", "category": "counting"}
    (item,) = Tsv(path=write(tmp_path / "a.tsv", row)).items()
    assert (item.question, item.kind, item.domain, item.target) == ("How many?", "numeric_value", "counting", "1,200")


def test_rows_may_share_the_picture_of_another(tmp_path: Path) -> None:
    again = {**RED, "index": "1", "image": "0"}
    first, second = Tsv(path=write(tmp_path / "a.tsv", RED, again)).items()
    assert first.picture.data == second.picture.data
    assert first.id != second.id


def test_an_option_that_reads_none_is_an_option(tmp_path: Path) -> None:
    (item,) = Tsv(path=write(tmp_path / "a.tsv", {**RED, "C": "None"})).items()
    assert "C. None" in item.question


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": "not base64!" * 20}, "index 0 has no picture"),
        ({"image": "99"}, "index 0 has no picture"),
        ({"image": str([picture("red"), picture("blue")])}, "several pictures"),
        ({"answer": "D"}, "none of its options"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Tsv(path=write(tmp_path / "a.tsv", {**RED, **change})).items()


def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match="has no column index"):
        Tsv(path=other).items()
    (tmp_path / "binary.tsv").write_bytes(b"\x89PNG\x00\xff")
    with pytest.raises(UserError, match="cannot be read"):
        Tsv(path=tmp_path / "binary.tsv").items()
    with pytest.raises(UserError, match="world:heldout"):
        open_benchmark("mathvista")


def test_a_benchmark_file_is_known_by_its_contents(tmp_path: Path) -> None:
    one, same = write(tmp_path / "a.tsv", RED), write(tmp_path / "b.tsv", RED)
    other = write(tmp_path / "c.tsv", {**RED, "answer": "A"})
    assert digest(Tsv(path=one)) == digest(Tsv(path=same)) != digest(Tsv(path=other))
