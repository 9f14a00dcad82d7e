"""Benchmarks as items: the micro world's, any file of VLMEvalKit's kind, and the twelve in both of their layouts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tasks.benchmarks import PUBLISHED, BenchmarkItem, TableBenchmark, WorldBenchmark, open_benchmark
from tasks.benchmarks.published import TWELVE
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest
from tasks.world import oracle
from tasks.world.heldout import items as world_items
from tests.fixtures.benchmark_layouts import BLUE, PARQUET, RED, TSV, png, write_parquet, write_tsv

ROW: dict[str, Any] = {"index": "0", "image": RED, "question": "Which colour?", "answer": "B", "A": "blue", "B": "red"}


def items_of(path: Path) -> list[BenchmarkItem]:
    return open_benchmark(str(path)).items()


def one(tmp_path: Path, **change: Any) -> BenchmarkItem:
    (item,) = items_of(write_tsv(tmp_path / "a.tsv", [{**ROW, **change}]))
    return item


def published(name: str, layout: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[BenchmarkItem]:
    """Items of a benchmark that lies where it is looked for."""
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(folder))
    file, rows = (TSV if layout == "tsv" else PARQUET)[name]
    (write_tsv if layout == "tsv" else write_parquet)(folder / name / file, rows)
    return open_benchmark(name).items()


def test_world_items_carry_the_oracles_answers_and_their_own_picture() -> None:
    items = WorldBenchmark(split="heldout", count=48).items()
    for item, made in zip(items, world_items("heldout", 48), strict=True):
        assert oracle.answer(made.scene.url, item.question) == item.target
        assert item.picture.data == made.scene.png()
    assert len({item.domain for item in items}) == 16


def test_heldout_has_at_least_600_items_evenly_over_domains_and_shares_none_with_validation() -> None:
    heldout, validation = open_benchmark("world:heldout"), open_benchmark("world:validation")
    assert isinstance(heldout, WorldBenchmark)
    assert isinstance(validation, WorldBenchmark)
    assert heldout.count >= 600
    assert heldout.count % 48 == 0
    pictures = {item.picture.data for item in validation.model_copy(update={"count": 96}).items()}
    assert not pictures & {item.picture.data for item in heldout.model_copy(update={"count": 96}).items()}


def test_a_choice_carries_its_options_and_answers_by_letter(tmp_path: Path) -> None:
    item = one(tmp_path)
    assert item.question.splitlines()[:4] == ["Question: Which colour?", "Options:", "A. blue", "B. red"]
    assert (item.target, item.form, item.kind, item.domain) == ("B", "letter", "short_answer", "a")
    assert item.options == (("A", "blue"), ("B", "red"))
    assert item.picture.image.getpixel((0, 0)) == (255, 0, 0)


def test_an_open_question_stands_alone_and_a_number_is_asked_for_as_one(tmp_path: Path) -> None:
    item = one(tmp_path, A="", B="", question="How many?", answer="1,200", category="counting")
    assert (item.question, item.kind, item.domain, item.target) == ("How many?", "numeric_value", "counting", "1,200")
    assert item.form == "open"


def test_a_yes_or_no_question_says_so(tmp_path: Path) -> None:
    item = one(tmp_path, A="", B="", question="Is it red?", answer="Yes")
    assert (item.target, item.form, item.question.splitlines()[-1]) == ("yes", "yes or no", "Answer yes or no.")


def test_rows_may_share_the_picture_of_another(tmp_path: Path) -> None:
    first, second = items_of(write_tsv(tmp_path / "a.tsv", [ROW, {**ROW, "index": "1", "image": "0"}]))
    assert first.picture.data == second.picture.data
    assert first.id != second.id


def test_rows_without_a_picture_are_left_out(tmp_path: Path) -> None:
    (item,) = items_of(write_tsv(tmp_path / "a.tsv", [{**ROW, "index": "1", "image": ""}, ROW]))
    assert item.id == "0"


def test_several_pictures_stand_side_by_side_in_their_order(tmp_path: Path) -> None:
    picture = one(tmp_path, image=str([RED, BLUE])).picture.image
    assert picture.width > 16
    assert picture.getpixel((2, picture.height - 1)) == (255, 0, 0)
    assert picture.getpixel((picture.width - 2, picture.height - 1)) == (0, 0, 255)


def test_pictures_may_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(png("blue"))
    row = {name: value for name, value in ROW.items() if name != "image"}
    (item,) = items_of(write_tsv(tmp_path / "a.tsv", [{**row, "image_path": "images/0.png"}]))
    assert item.picture.data == png("blue")


def test_an_option_that_reads_none_is_an_option(tmp_path: Path) -> None:
    assert "C. None" in one(tmp_path, C="None").question


def test_what_looks_like_options_in_an_open_question_does_not_make_its_answer_a_letter(tmp_path: Path) -> None:
    item = one(tmp_path, A="", B="", question="With A: 3, B: 4 and C: 5, what is B?", answer="4")
    assert (item.target, item.form) == ("4", "open")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": "not base64!" * 20}, "index 0 has no picture"),
        ({"image": "99"}, "index 0 has no picture"),
        ({"image": "[" + RED}, "index 0 has no picture"),
        (
            {"image": base64.b64encode(b"no picture" * 20).decode()},
            "index 0 has no picture, but .* bytes of no picture",
        ),
        ({"answer": "D"}, "none of its options"),
        ({"answer": ""}, "has no answer"),
        ({"question": ""}, "has no question"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        one(tmp_path, **change)


def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match="no column image"):
        items_of(other)
    (tmp_path / "binary.tsv").write_bytes(b"\x89PNG\x00\xff")
    with pytest.raises(UserError, match="cannot be read"):
        items_of(tmp_path / "binary.tsv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read"):
        items_of(tmp_path / "broken.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no"):
        items_of(tmp_path / "empty")
    with pytest.raises(UserError, match="world:heldout"):
        open_benchmark("mathbench")


def test_ids_that_are_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 ids more than once, such as 0"):
        items_of(write_tsv(tmp_path / "a.tsv", [ROW, ROW]))


def test_a_benchmark_file_is_known_by_its_contents(tmp_path: Path) -> None:
    one, same = write_tsv(tmp_path / "a.tsv", [ROW]), write_tsv(tmp_path / "b.tsv", [ROW])
    other = write_tsv(tmp_path / "c.tsv", [{**ROW, "answer": "A"}])
    known, again, changed = (digest(open_benchmark(str(path))) for path in (one, same, other))
    assert known == again != changed


def test_the_twelve_of_the_paper_are_declared() -> None:
    assert len(PUBLISHED) == 12
    assert all(one.repo.count("/") == 1 and one.split and one.files for one in PUBLISHED.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_that_is_missing_says_what_to_put_where(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    with pytest.raises(UserError) as told:
        open_benchmark(name)
    assert "\n" not in str(told.value)
    assert all(part in str(told.value) for part in (PUBLISHED[name].files[0][0], PUBLISHED[name].repo, str(tmp_path)))


def test_a_file_is_read_as_the_benchmark_that_it_is_named_after_or_that_is_named(tmp_path: Path) -> None:
    named = {"MathVista_MINI": "mathvista", "MMMU_Pro_V": "mmmu-pro", "MMMU_DEV_VAL": "mmmu", "WeMath_COT": "we-math"}
    for file, name in named.items():
        table = open_benchmark(str(write_tsv(tmp_path / f"{file}.tsv", [ROW])))
        assert isinstance(table, TableBenchmark)
        assert table.definition.name == name
    table = open_benchmark(f"logicvista={tmp_path / 'MMMU_Pro_V.tsv'}")
    assert isinstance(table, TableBenchmark)
    assert table.definition.name == "logicvista"


@pytest.mark.parametrize("layout", ["tsv", "parquet"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_each_of_the_twelve_is_read_in_both_of_its_layouts(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published(name, layout, tmp_path, monkeypatch)
    assert items
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.picture.image.height >= 8
        assert item.question.strip()
        assert all(attribute.partition("=")[2] for attribute in item.attributes)
        assert (item.cluster is not None) == bool(PUBLISHED[name].cluster)
        if item.form in ("letter", "letters"):
            assert {*item.target} <= {letter for letter, _ in item.options}


TARGETS: dict[tuple[str, str], list[tuple[str, str, str]]] = {
    ("mathverse", "parquet"): [("5", "open", "Length")],
    ("mathvision", "tsv"): [("C", "letter", "arithmetic"), ("7/2", "open", "counting")],
    ("mathvision", "parquet"): [("B", "letter", "graph theory"), ("12", "open", "counting")],
    ("mathvista", "tsv"): [("B", "letter", "figure question answering"), ("1.2", "open", "math word problem")],
    ("mathvista", "parquet"): [("A", "letter", "geometry problem solving"), ("8", "open", "math word problem")],
    ("dynamath", "parquet"): [("B", "letter", "topology")],
    ("logicvista", "tsv"): [("AD", "letters", "inductive"), ("B", "letters", "spatial")],
    ("logicvista", "parquet"): [("AC", "letters", "deductive")],
    ("mmmu", "tsv"): [("A", "letter", "Accounting")],
    ("mmmu", "parquet"): [("B", "letter", "Art_Theory"), ("['6', 'six']", "open", "Art_Theory")],
    ("mmmu-pro", "tsv"): [("J", "letter", "Art")],
    ("mmmu-pro", "parquet"): [("J", "letter", "History")],
    ("mmstar", "parquet"): [("A", "letter", "math")],
    ("visnumbench", "tsv"): [("B", "letter", "Quantity")],
    ("visnumbench", "parquet"): [("C", "letter", "Length")],
}


@pytest.mark.parametrize(("name", "layout"), list(TARGETS))
def test_the_right_answer_is_read_as_the_layout_writes_it(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published(name, layout, tmp_path, monkeypatch)
    assert [(item.target, item.form, item.domain) for item in items] == TARGETS[name, layout]


def test_realworldqa_has_options_and_open_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tsv = published("realworldqa", "tsv", tmp_path / "tsv", monkeypatch)
    hub = published("realworldqa", "parquet", tmp_path / "hub", monkeypatch)
    assert [(item.target, item.form) for item in tsv] == [("A", "letter"), ("3", "open")]
    assert [(item.target, item.form) for item in hub] == [("A", "letter"), ("yes", "yes or no")]
    assert hub[0].question.count("A. left") == 1


def test_options_that_the_question_lists_are_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for item in published("mathverse", "tsv", tmp_path, monkeypatch):
        assert item.question.count("120°") == 1
        assert dict(item.options)["C"] == "120°"


def test_dynamath_asks_for_decimals_and_allows_for_their_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published("dynamath", "tsv", tmp_path, monkeypatch)
    assert {item.tolerance for item in items} == {0.001}
    assert "three decimals" in items[0].question
    assert {item.cluster for item in items} == {"1", "2"}


def test_of_mmmu_only_the_validation_split_is_asked_and_its_pictures_are_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = published("mmmu", "tsv", tmp_path, monkeypatch)
    assert item.picture.image.width > 16
    assert "<image 2>" in item.question


def test_a_question_that_stands_in_the_picture_lists_no_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = published("mmmu-pro", "parquet", tmp_path, monkeypatch)
    assert "it is 3" not in item.question
    assert item.attributes == ("setting=vision",)


def test_hallusionbench_tells_figures_apart_by_category_and_leaves_out_questions_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published("hallusionbench", "tsv", tmp_path, monkeypatch)
    assert len(items) == 8
    assert len({item.cluster for item in items}) == 4
    assert {item.target for item in items} == {"yes", "no"}


def test_files_of_a_benchmark_may_lie_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    file, rows = TSV["mmmu-pro"]
    write_tsv(tmp_path / file, rows)
    write_tsv(tmp_path / "MMMU_Pro_V.tsv", [{**rows[0], "question": ""}])
    items = open_benchmark("mmmu-pro").items()
    assert [item.attributes for item in items] == [("setting=MMMU_Pro_10c",), ("setting=MMMU_Pro_V",)]


@pytest.mark.parametrize("nested", [False, True])
def test_what_datasets_saved_to_disk_is_read(nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    _, rows = PARQUET["dynamath"]
    parts = {
        f"sample_variant{number}": datasets.Dataset.from_list(rows).cast_column("decoded_image", datasets.Image())
        for number in (1, 2)
    }
    if nested:
        datasets.DatasetDict(parts).save_to_disk(tmp_path / "dynamath")
    else:
        for name, part in parts.items():
            part.save_to_disk(tmp_path / "dynamath" / name)
    items = open_benchmark("dynamath").items()
    assert [item.id for item in items] == ["sample_variant1/1", "sample_variant2/1"]
    assert {item.cluster for item in items} == {"1"}
    assert items[0].picture.image.getpixel((0, 0)) == (255, 0, 0)


def test_files_of_a_benchmark_in_several_are_named_as_they_are_published() -> None:
    (mathverse,) = [one for one in TWELVE if one.name == "mathverse"]
    assert mathverse.files[2][:2] == ("MathVerse_MINITDom.tsv", "MathVerse_MINITLite.tsv")
