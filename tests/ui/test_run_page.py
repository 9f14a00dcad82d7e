"""A run's page in headless Chromium: rounds, map, difference; from a disk, as it is mailed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.reporting.page_files import marked, write_folder
from tasks.reporting.round_page import page_files
from tasks.reporting.run_page import RoundDocuments, run_files
from tests.fixtures.made_round import MadeRound, made_page, made_round, photographs_of
from tests.ui.page_browser import axe_faults, opened, snapshot

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def made() -> list[MadeRound]:
    """Two rounds that share a hundred questions, half of which are too easy in the second one."""
    first, second = made_round(60, seed=1), made_round(60, seed=2)
    shared = {row.id for row in first.labelled[:100]}
    easy = [row.model_copy(update={"reason": "too easy"}) for row in first.labelled[:50]]
    others = [row for row in second.labelled if row.id not in shared]
    return [first, replace(second, labelled=[*easy, *first.labelled[50:100], *others])]


@pytest.fixture(scope="module")
def folder(made: list[MadeRound], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, documents = tmp_path_factory.mktemp("run"), []
    for number, each in enumerate(made, 1):
        keys = [row.key for row in each.results if row.key]
        places = {key: ((n * 37) % 101 / 50, (n * 53) % 89 / 40) for n, key in enumerate(dict.fromkeys(keys))}
        files = page_files(replace(made_page(each, photographs_of(each)), number=number, places=places))
        write_folder(files, out / f"round-{number:03d}")
        shell = out / f"round-{number:03d}" / "index.html"
        shell.write_bytes(marked(shell.read_bytes(), {"up": "../index.html", "up-name": "Run made"}))
        found = files.documents
        documents.append(RoundDocuments(number, found["round"], found["columns"], found["pictures"]))
    write_folder(run_files("made", documents), out)
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, folder: Path, page: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    tab = opened(page, f"file://{folder}/index.html")
    assert tab.complaints == []
    assert axe_faults(tab) == []
    snapshot(tab, f"run-{scheme}", whole=True)


def test_the_difference_counts_what_changed_side(made: list[MadeRound], folder: Path, page: Any) -> None:
    tab = opened(page, f"file://{folder}/index.html")
    tab.locator("#difference table").first.wait_for()
    before, after = ({(row.key, row.text): row.reason for row in each.labelled if row.target is None} for each in made)
    both = before.keys() & after.keys()
    moved = sum(before[key] != after[key] for key in both)
    said = tab.locator("#difference p").first.inner_text()
    assert said.startswith(f"{len(both)} questions were asked in both rounds")
    assert f"{moved} changed side" in said
    tab.get_by_label("To", exact=True).select_option("1")
    tab.get_by_text("0 changed side").wait_for()


def test_the_map_leads_by_keyboard_to_the_cards_of_a_picture(folder: Path, page: Any) -> None:
    tab = opened(page, f"file://{folder}/index.html")
    assert tab.locator(".map circle").count() == 60
    tab.locator(".map").focus()
    tab.keyboard.press("ArrowRight")
    key = tab.locator(".map-panel bdi").inner_text()
    tab.locator("#map-round").fill("0")
    assert tab.locator("#map [role=status]").inner_text().startswith("Round 1: 60 pictures")
    tab.get_by_role("link", name="its cards").click()
    tab.wait_for_selector("html[data-ready]")
    assert tab.get_by_role("searchbox").input_value() == key
    tab.get_by_role("link", name="Run made").click()
    tab.wait_for_selector("html[data-ready]")
    assert tab.locator("h1").inner_text() == "Run made"


def test_a_phone_shows_everything_in_its_width(folder: Path, page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    tab = opened(page, f"file://{folder}/index.html")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    snapshot(tab, "run-phone")
