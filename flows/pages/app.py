"""The store's pages on loopback, read only: every run and round, for `active-zero ui`.

    /index.html                                   the runs
    /runs/default/index.html                      a run: its rounds side by side, the map, the difference
    /runs/default/round-003/index.html            a round, also one in progress
    /runs/default/round-003/live.json             which stages are complete, and the progress of the present one
    /runs/default/round-003/original/00012/0001   a picture as the corpus holds it

No path of a disk or a bucket is made of an address. An address names a run and a round, which the store lists; its rest
is looked up among the names of the page's files, and a picture's key among the corpus's rows.
"""

from __future__ import annotations

import logging
import mimetypes
import re
import threading
from collections.abc import Callable, Mapping

from cachetools import LRUCache
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from flows.pages.live import is_complete, live_round
from flows.pages.originals import original
from flows.pages.rounds import page_of_round
from flows.pages.runs import documents_of, numbers_of, page_of_run, report_with_page, runs_files
from flows.round import round_place
from tasks.reporting.page_files import FOLDER_POLICY, files_of, marked
from tasks.reporting.round_page import page_files
from tasks.reporting.text import PAGE
from tasks.settings.errors import UserError
from tasks.store import Store, StoreFault

KEPT = 8
"""Pages that are made here, of runs and of rounds in progress, that are kept until their rounds change."""
HOSTS = ["127.0.0.1", "localhost"]
"""Other names in a request are refused: a page of the web must not read the store through a name of its own."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

log = logging.getLogger(__name__)

Files = Mapping[str, bytes]


class StorePages:
    """The files of all pages of a store, by address."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made: LRUCache[tuple[object, ...], Files] = LRUCache(KEPT)
        self._making = threading.RLock()

    def runs(self, name: str) -> bytes:
        """A file of the page of all runs. KeyError for another name, as in the other methods."""
        return runs_files(self.store)[name]

    def run(self, run: str, name: str) -> bytes:
        """A file of a run's page. UserError for a run that is not in the store."""

        def read(number: int, part: str) -> bytes:
            return self.round(run, number, part)

        version = tuple((number, self._version(run, number)) for number in numbers_of(self.store, run))
        made = self._kept(("run", run, *version), lambda: page_of_run(run, documents_of(self.store, run, read)))
        marks = {"up": "../../index.html", "up-name": "All runs"}
        return marked(made[name], marks) if name == "index.html" else made[name]

    def round(self, run: str, number: int, name: str) -> bytes:
        """A file of a round's page. UserError for a round that is not in the store."""
        self.store.check_round(run, number)
        report = report_with_page(self.store, run, number)
        if report is not None:
            if all(file.name != f"{PAGE}/{name}" for file in report.manifest.files):
                raise KeyError(name)
            data = report.file(f"{PAGE}/{name}").read_bytes()
        else:
            version = ("round", run, number, self._version(run, number))
            data = self._kept(version, lambda: dict(files_of(page_files(page_of_round(self.store, run, number)))))[name]
        marks = {"up": "../index.html", "up-name": f"Run {run}", "originals": "original/"}
        live = {} if is_complete(self.store, run, number) else {"live": "live.json"}
        return marked(data, marks | live) if name == "index.html" else data

    def _version(self, run: str, number: int) -> int:
        """Changes with every commit of the round."""
        return round_place(self.store, run, number).journal.head().position

    def _kept(self, key: tuple[object, ...], make: Callable[[], Files]) -> Files:
        with self._making:  # two requests for one page make it once; a run's page asks for its rounds'
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


def pages_app(store: Store) -> FastAPI:
    """The app. It answers GET only, and only to the names of this machine."""
    app = FastAPI(title="Active-Zero", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    pages = StorePages(store)

    @app.get("/runs/{run}/round-{number}/live.json")
    def live(run: str, number: str) -> Response:
        return _answered(lambda: JSONResponse(live_round(store, run, _number(number)), headers=HEADERS))

    @app.get("/runs/{run}/round-{number}/original/{key:path}")
    def picture(run: str, number: str, key: str) -> Response:
        return _answered(lambda: _picture(*original(store, run, _number(number), key)))

    @app.get("/runs/{run}/round-{number}/{name:path}")
    def round_file(run: str, number: str, name: str) -> Response:
        return _answered(lambda: _file(name, pages.round(run, _number(number), name)))

    @app.get("/runs/{run}/{name:path}")
    def run_file(run: str, name: str) -> Response:
        return _answered(lambda: _file(name, pages.run(run, name)))

    @app.get("/")
    def first() -> Response:
        return RedirectResponse("/index.html")

    @app.get("/{name:path}")
    def runs_file(name: str) -> Response:
        return _answered(lambda: _file(name, pages.runs(name)))

    return app


def _number(text: str) -> int:
    """The number of a round's folder. KeyError for other texts."""
    if not re.fullmatch(r"\d{3,9}", text):
        raise KeyError(text)
    return int(text)


def _answered(answer: Callable[[], Response]) -> Response:
    """The answer; 404 where there is no such thing, and 503 where the store does not answer."""
    try:
        return answer()
    except KeyError:
        return _refused(404, "There is no such page.")
    except UserError as error:
        return _refused(404, str(error))
    except (StoreFault, OSError) as error:
        log.warning("%s", error)
        return _refused(503, f"The store does not answer: {error}")


def _refused(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status, HEADERS)


def _file(name: str, data: bytes) -> Response:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or kind.endswith("javascript")
    headers = HEADERS | {"Content-Security-Policy": FOLDER_POLICY}
    return Response(data, media_type=f"{kind}; charset=utf-8" if text else kind, headers=headers)


def _picture(kind: str, data: bytes) -> Response:
    headers = HEADERS | {"Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(data, media_type=kind, headers=headers)
