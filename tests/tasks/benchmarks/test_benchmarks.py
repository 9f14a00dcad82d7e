"""Benchmarks as items: the micro world's, any VLMEvalKit file, and the twelve of the paper in both layouts."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.benchmarks import PUBLISHED, BenchmarkItem, TableBenchmark, WorldBenchmark, open_benchmark
from tasks.benchmarks.answers import grade
from tasks.benchmarks.item import BenchmarkRows
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest
from tasks.world import oracle
from tasks.world.heldout import items as world_items
from tests.fixtures.benchmark_layouts import BLUE, PARQUET, RED, TSV, png, write_parquet, write_tsv

ROW: dict[str, Any] = {"index": "0", "image": RED, "question": "Which colour?", "answer": "B", "A": "blue", "B": "red"}


def items_of(path: Path) -> list[BenchmarkItem]:
    return open_benchmark(str(path)).read().items


def single_item(tmp_path: Path, **change: Any) -> BenchmarkItem:
    (item,) = items_of(write_tsv(tmp_path / "a.tsv", [{**ROW, **change}]))
    return item


def published(name: str, layout: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[BenchmarkItem]:
    """Items of a benchmark that lies where it is looked for."""
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(folder))
    file, rows = (TSV if layout == "tsv" else PARQUET)[name]
    (write_tsv if layout == "tsv" else write_parquet)(folder / name / file, rows)
    return open_benchmark(name).read().items


def test_world_items_have_the_oracles_answer_and_their_picture() -> None:
    items = WorldBenchmark(split="heldout", count=48).read().items
    for item, made in zip(items, world_items("heldout", 48), strict=True):
        assert oracle.answer(made.scene.url, item.question) == item.target
        assert item.picture.data == made.scene.png()
    assert len({item.domain for item in items}) == 16


def test_heldout_is_large_even_and_shares_nothing_with_validation() -> None:
    heldout, validation = open_benchmark("world:heldout"), open_benchmark("world:validation")
    assert isinstance(heldout, WorldBenchmark)
    assert isinstance(validation, WorldBenchmark)
    assert heldout.count >= 600
    assert heldout.count % 48 == 0
    pictures = {item.picture.data for item in validation.model_copy(update={"count": 96}).read().items}
    assert not pictures & {item.picture.data for item in heldout.model_copy(update={"count": 96}).read().items}


def test_a_choice_carries_its_options_and_answers_by_letter(tmp_path: Path) -> None:
    item = single_item(tmp_path)
    assert item.question.splitlines()[:4] == ["Question: Which colour?", "Options:", "A. blue", "B. red"]
    assert (item.target, item.answer_format, item.kind, item.domain) == ("B", "letter", "short_answer", "a")
    assert item.options == (("A", "blue"), ("B", "red"))
    assert item.picture.image.getpixel((0, 0)) == (255, 0, 0)


def test_a_numeric_open_question_asks_for_a_number(tmp_path: Path) -> None:
    item = single_item(tmp_path, A="", B="", question="How many?", answer="1,200", category="counting")
    assert (item.question, item.kind, item.domain, item.target) == ("How many?", "numeric_value", "counting", "1,200")
    assert item.answer_format == "open"


def test_a_yes_or_no_question_says_so(tmp_path: Path) -> None:
    item = single_item(tmp_path, A="", B="", question="Is it red?", answer="Yes")
    assert (item.target, item.answer_format, item.question.splitlines()[-1]) == (
        "yes",
        "yes or no",
        "Answer yes or no.",
    )


def test_rows_may_share_the_picture_of_another(tmp_path: Path) -> None:
    first, second = items_of(write_tsv(tmp_path / "a.tsv", [ROW, {**ROW, "index": "1", "image": "0"}]))
    assert first.picture.data == second.picture.data
    assert first.id != second.id


def test_several_pictures_are_joined_in_their_order(tmp_path: Path) -> None:
    picture = single_item(tmp_path, image=str([RED, BLUE])).picture.image
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
    assert "C. None" in single_item(tmp_path, C="None").question


def test_marks_in_an_open_question_make_no_letter_answer(tmp_path: Path) -> None:
    item = single_item(tmp_path, A="", B="", question="With A: 3, B: 4 and C: 5, what is B?", answer="4")
    assert (item.target, item.answer_format) == ("4", "open")


def rows_of(tmp_path: Path, *rows: dict[str, Any]) -> BenchmarkRows:
    """What a file gives that has these rows and twenty good ones."""
    good = [{**ROW, "index": f"good {number}"} for number in range(20)]
    return open_benchmark(str(write_tsv(tmp_path / "a.tsv", [*good, *rows]))).read()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": ""}, "no picture"),
        ({"image": "not base64!" * 20}, "bad picture: .* neither base64"),
        ({"image": "99"}, "bad picture: "),
        ({"image": "[" + RED}, "bad picture: .* a list that does not end"),
        ({"image": base64.b64encode(b"no picture" * 20).decode()}, "bad picture: .* bytes of no picture"),
        ({"answer": "D"}, "no such option: the answer is 'D', the options are A, B"),
        ({"answer": "B", "B": "", "C": "green"}, "no such option"),
        ({"answer": ""}, "no answer"),
        ({"question": ""}, "no question"),
    ],
)
def test_a_strange_row_costs_one_row(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    read = rows_of(tmp_path, {**ROW, **change})
    assert len(read.items) == 20
    ((id, told),) = [(row.id, row.reason) for row in read.rejected]
    assert id == "0" and re.search(reason, told)


def test_a_file_of_strange_rows_is_refused(tmp_path: Path) -> None:
    strange = [{**ROW, "index": str(number), "answer": "D"} for number in range(3)]
    with pytest.raises(UserError, match=r"3 of 23 rows cannot be asked, .* index 0: no such option"):
        rows_of(tmp_path, *strange)


def test_an_empty_option_in_the_middle_and_the_option_0_keep_the_letters(tmp_path: Path) -> None:
    (*_, item) = rows_of(tmp_path, {**ROW, "A": "0", "B": "", "C": "NA", "D": "None", "answer": "D"}).items
    assert item.options == (("A", "0"), ("C", "NA"), ("D", "None"))
    assert item.target == "D"


def test_a_parquet_number_0_is_an_option(tmp_path: Path) -> None:
    row = {"index": 1, "image": {"bytes": png("red")}, "question": "?", "answer": "A", "A": 0.0, "B": 1.0, "C": None}
    (item,) = items_of(write_parquet(tmp_path / "a.parquet", [row]))
    assert item.options == (("A", "0"), ("B", "1"))


def test_mathverses_questions_in_the_picture_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    file, rows = TSV["mathverse"]
    asked = "According to the question shown in the image, please directly answer it with an option letter."
    only = [{**row, "question": "", "query_wo": asked} for row in rows if row["problem_version"] == "Vision Only"]
    write_tsv(tmp_path / file, [row for row in rows if row["problem_version"] != "Vision Only"] + only)
    item = open_benchmark("mathverse").read().items[-1]
    assert item.question.splitlines()[0] == asked
    assert (item.target, item.answer_format) == ("B", "letter")


@pytest.mark.parametrize(
    ("kind", "precision", "target", "right", "wrong"),
    [
        ("integer", "", "8", ["8", "8.7", "\\frac{17}{2}"], ["9", "7.9", "eight point"]),
        ("float", "1.0", "1.2", ["1.2", "1.23", "1.16 m"], ["1.3", "12"]),
        ("float", "2.0", "0.67", ["\\frac{2}{3}", "0.667"], ["0.6", "0.7"]),
        ("list", "", "[2007, 2008]", ["[2007, 2008]", "2007, 2008"], ["2007", "[2008, 2007]"]),
    ],
)
def test_mathvista_is_asked_and_scored_as_by_its_authors(
    tmp_path: Path, kind: str, precision: str, target: str, right: list[str], wrong: list[str]
) -> None:
    row = {**ROW, "A": "", "B": "", "question": "How much?", "answer": target, "answer_type": kind, "unit": "m"}
    (item,) = items_of(write_tsv(tmp_path / "MathVista_MINI.tsv", [{**row, "precision": precision}]))
    assert item.question.startswith("How much? (Unit: m)\nPlease answer the question requiring ")
    assert [grade(item, answer).right for answer in right] == [True] * len(right)
    assert [grade(item, answer).right for answer in wrong] == [False] * len(wrong)


def test_dynamath_takes_a_fraction_in_any_notation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = published("dynamath", "tsv", tmp_path, monkeypatch)[0]
    third = replace(item, target="0.667")
    assert [grade(third, answer).right for answer in ("2/3", "\\frac{2}{3}", "0.6667", "3/2")] == [
        True,
        True,
        True,
        False,
    ]


def test_of_a_snapshot_with_several_splits_the_scored_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    _, rows = PARQUET["mmmu"]
    for split in ("dev", "validation", "test"):
        renamed = [{**row, "id": str(row["id"]).replace("validation", split)} for row in rows]
        write_parquet(tmp_path / "mmmu" / "Art_Theory" / f"{split}-00000-of-00001.parquet", renamed)
    assert {item.id.split("_")[0] for item in open_benchmark("mmmu").read().items} == {"validation"}
    _, rows = PARQUET["mmmu-pro"]
    for folder in ("vision", "standard (10 options)", "standard (4 options)"):
        write_parquet(tmp_path / "mmmu-pro" / folder / "test-00000-of-00001.parquet", rows)
    settings = {item.attributes[0] for item in open_benchmark("mmmu-pro").read().items}
    assert settings == {"setting=vision", "setting=standard (10 options)"}


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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b'0\t"x\ty\tz\n', "cannot be read"),
        (b"0\tx\xff\ty\tz\n", "cannot be read"),
        (b"0\tx\x00\ty\tz\n", "cannot be asked"),
        (b"", "has no rows"),
    ],
)
def test_a_malformed_tsv_is_refused_in_one_line(tmp_path: Path, rows: bytes, message: str) -> None:
    file = tmp_path / "a.tsv"
    file.write_bytes(b"index\timage\tquestion\tanswer\n" + rows)
    with pytest.raises(UserError, match=message) as error:
        items_of(file)
    assert "\n" not in str(error.value)


def test_cells_of_a_tsv_stay_text(tmp_path: Path) -> None:
    item = single_item(tmp_path, A="", B="", question="NA", answer="007", category="None")
    assert (item.question, item.target, item.domain) == ("NA", "007", "None")


def test_short_rows_a_byte_order_mark_and_quotes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text(f'\ufeffindex\timage\tquestion\tanswer\thint\n0\t{RED}\t"how\n""many"" ?"\t3\n', encoding="utf-8")
    (item,) = items_of(file)
    assert (item.id, item.question, item.target) == ("0", 'how\n"many" ?', "3")


def test_a_cell_too_many_in_one_row_does_not_refuse_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text(f"index\timage\tquestion\tanswer\n0\t{RED}\thow many ?\t3\n1\t{RED}\twhich ?\tred\tone more\n")
    assert [(item.id, item.target) for item in items_of(file)] == [("0", "3"), ("1", "red")]


def test_ids_that_are_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 ids more than once, such as 0"):
        items_of(write_tsv(tmp_path / "a.tsv", [ROW, ROW]))


def test_a_benchmark_file_is_known_by_its_contents(tmp_path: Path) -> None:
    original, same = write_tsv(tmp_path / "a.tsv", [ROW]), write_tsv(tmp_path / "b.tsv", [ROW])
    other = write_tsv(tmp_path / "c.tsv", [{**ROW, "answer": "A"}])
    known, again, changed = (digest(open_benchmark(str(path))) for path in (original, same, other))
    assert known == again != changed


def test_the_twelve_of_the_paper_are_declared() -> None:
    assert len(TSV) == 12
    assert TSV.keys() == PARQUET.keys() <= PUBLISHED.keys()
    assert all(
        definition.repo.count("/") == 1 and definition.split and definition.files for definition in PUBLISHED.values()
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_benchmark_says_which_files_to_put_where(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    with pytest.raises(UserError) as error:
        open_benchmark(name)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in (PUBLISHED[name].files[0][0], PUBLISHED[name].repo, str(tmp_path)))


def test_a_file_is_read_as_the_benchmark_in_its_name(tmp_path: Path) -> None:
    named = {"MathVista_MINI": "mathvista", "MMMU_Pro_V": "mmmu-pro", "MMMU_DEV_VAL": "mmmu", "WeMath_COT": "we-math"}
    for file, name in named.items():
        table = open_benchmark(str(write_tsv(tmp_path / f"{file}.tsv", [ROW])))
        assert isinstance(table, TableBenchmark)
        assert table.definition.name == name
    table = open_benchmark(f"logicvista={tmp_path / 'MMMU_Pro_V.tsv'}")
    assert isinstance(table, TableBenchmark)
    assert table.definition.name == "logicvista"


@pytest.mark.parametrize("layout", ["tsv", "parquet"])
@pytest.mark.parametrize("name", TSV)
def test_each_of_the_twelve_is_read_in_both_layouts(
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
        if item.answer_format in ("letter", "letters"):
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
def test_the_target_is_read_in_each_layouts_notation(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published(name, layout, tmp_path, monkeypatch)
    assert [(item.target, item.answer_format, item.domain) for item in items] == TARGETS[name, layout]


def test_realworldqa_has_options_and_open_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tsv = published("realworldqa", "tsv", tmp_path / "tsv", monkeypatch)
    hub = published("realworldqa", "parquet", tmp_path / "hub", monkeypatch)
    assert [(item.target, item.answer_format) for item in tsv] == [("A", "letter"), ("3", "open")]
    assert [(item.target, item.answer_format) for item in hub] == [("A", "letter"), ("yes", "yes or no")]
    assert hub[0].question.count("A. left") == 1


def test_options_in_the_question_are_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for item in published("mathverse", "tsv", tmp_path, monkeypatch):
        assert item.question.count("120°") == 1
        assert dict(item.options)["C"] == "120°"


def test_dynamath_asks_for_decimals_and_has_a_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = published("dynamath", "tsv", tmp_path, monkeypatch)
    assert {item.tolerance for item in items} == {0.001}
    assert "three decimals" in items[0].question
    assert {item.cluster for item in items} == {"1", "2"}


def test_mmmu_is_its_validation_split_with_numbered_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = published("mmmu", "tsv", tmp_path, monkeypatch)
    assert item.picture.image.width > 16
    assert "<image 2>" in item.question


def test_a_question_in_the_picture_lists_no_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = published("mmmu-pro", "parquet", tmp_path, monkeypatch)
    assert "it is 3" not in item.question
    assert item.attributes == ("setting=vision",)


def test_hallusionbench_groups_figures_and_skips_rows_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = published("hallusionbench", "tsv", tmp_path, monkeypatch)
    assert len(items) == 8
    assert len({item.cluster for item in items}) == 4
    assert {item.target for item in items} == {"yes", "no"}


def test_files_of_one_benchmark_may_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    file, rows = TSV["mmmu-pro"]
    write_tsv(tmp_path / file, rows)
    write_tsv(tmp_path / "MMMU_Pro_V.tsv", [{**rows[0], "question": ""}])
    items = open_benchmark("mmmu-pro").read().items
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
    items = open_benchmark("dynamath").read().items
    assert [item.id for item in items] == ["sample_variant1/1", "sample_variant2/1"]
    assert {item.cluster for item in items} == {"1"}
    assert items[0].picture.image.getpixel((0, 0)) == (255, 0, 0)


def test_mathverses_files_have_their_published_names() -> None:
    assert PUBLISHED["mathverse"].files[2][:2] == ("MathVerse_MINITDom.tsv", "MathVerse_MINITLite.tsv")
