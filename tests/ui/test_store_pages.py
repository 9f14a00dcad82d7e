"""From the Prefect UI to a round's page and one rejected question; and a round in progress, whose numbers move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flows.round import FOLDERS
from flows.server.server import free_port
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import LiveServer, environment_in, start_ui, stop_ui, until
from tests.ui.page_browser import axe_faults, opened, snapshot

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of these tests alone: other tests count the runs of theirs, and end it."""
    folder = tmp_path_factory.mktemp("pages")
    live = start_ui(free_port(), write_tiny_config(folder), environment_in(folder))
    yield live
    stop_ui(live)


def test_a_finished_run_leads_to_a_rejected_question_and_its_reason(live_server: LiveServer, page: Any) -> None:
    run = live_server.start(run="looked")
    assert live_server.wait(run)["type"] == "COMPLETED"
    report = live_server.artifacts(run)["looked-round-1-report"]
    page.goto(f"{live_server.address}/artifacts/artifact/{report['id']}")
    link = page.get_by_role("link", name="The page of the round")
    link.wait_for()
    snapshot(page, "9-artifact-with-page")
    address = link.get_attribute("href")
    assert address == f"{live_server.pages}/runs/looked/round-001/index.html"
    with page.context.expect_page() if link.get_attribute("target") == "_blank" else page.expect_navigation():
        link.click()
    tab = page.context.pages[-1]
    tab.wait_for_selector("html[data-ready]")
    lost = tab.locator("#funnel .level").last.locator("button.segment").nth(1)
    reason = lost.locator(".what").inner_text()
    lost.click()
    card = tab.locator(".card").first
    assert card.locator(".outcome").inner_text().startswith(reason)
    card.get_by_text("more").click()
    card.get_by_text("Why:").wait_for()
    snapshot(tab, "10-rejected-question")
    card.locator(".picture").click()
    with tab.context.expect_page() as original:
        tab.get_by_role("link", name="original picture").click()
    assert original.value.url.startswith(f"{live_server.pages}/runs/looked/round-001/original/")


def test_all_pages_of_the_store_are_linked(live_server: LiveServer, page: Any) -> None:
    tab = opened(page, f"{live_server.pages}/index.html")
    assert axe_faults(tab) == []
    snapshot(tab, "11-runs")
    tab.get_by_role("link", name="looked").click()
    tab.wait_for_selector("html[data-ready]")
    assert tab.locator("h1").inner_text() == "Run looked"
    tab.get_by_role("link", name="round-001").click()
    tab.wait_for_selector("html[data-ready]")
    tab.get_by_role("link", name="Run looked").click()
    tab.get_by_role("link", name="All runs").click()
    tab.get_by_text("Runs of this store").wait_for()


def test_the_numbers_of_a_round_in_progress_move(live_server: LiveServer, page: Any) -> None:
    settings = ["corpus.at=small", "corpus.source.pictures=600", "search.queries=150", "evaluate.items=400"]
    run = live_server.start(run="moving", config="tiny.yaml", overrides=settings)
    until(lambda: any(state == "Completed" for _, state in live_server.stages(run)))
    page.goto(f"{live_server.pages}/runs/moving/round-001/index.html")
    seen: set[str] = set()

    def moved() -> bool:
        line = page.locator(".live")
        if line.count():
            seen.add(line.first.inner_text())
        return sum("/" in each for each in seen) >= 3

    until(moved, message=lambda: str(seen))
    snapshot(page, "12-in-progress")
    stages = page.locator(".stages li").count()
    live_server.wait(run)
    until(lambda: page.locator(".stages li").count() == len(FOLDERS) - 1)
    assert stages < len(FOLDERS) - 1
    assert page.locator(".live").count() == 0
