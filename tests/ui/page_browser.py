"""What the tests of pages share: a page's folder on loopback and on the disk, axe-core, and times in the browser."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import ROOT, SCREENSHOTS

AXE = "4.14.1"
"""Version of axe-core, which npm installs into build/axe at the first use."""
SERIOUS = ("serious", "critical")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a free port of loopback."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def opened(page: Any, address: str) -> Any:
    """The page once its cards are there. What the browser complains about is kept in `page.complaints`."""
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    return page


def shown_rows(page: Any, address: str) -> int:
    """Number of cards that the view of an address (`#domain=clocks`) has on all its pages."""
    page.evaluate(
        "address => { history.pushState(null, '', address); dispatchEvent(new PopStateEvent('popstate')); }", address
    )
    return int(page.evaluate("document.documentElement.dataset.rows"))


def axe_faults(page: Any) -> list[str]:
    """Serious and critical faults that axe-core finds on the page as it is; skips where npm cannot install it."""
    script = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm") or pytest.skip("no npm, which installs axe-core")
        command = [npm, "install", "--prefix", str(ROOT / "build" / "axe"), f"axe-core@{AXE}"]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("npm cannot install axe-core")
    page.evaluate(script.read_text())  # the driver is not bound by the page's policy
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:200]} ({len(fault['nodes'])} times)"
        for fault in found
        if fault["impact"] in SERIOUS
    ]


def snapshot(page: Any, name: str, whole: bool = False) -> None:
    page.wait_for_timeout(600)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)
