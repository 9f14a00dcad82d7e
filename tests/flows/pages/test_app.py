"""The app that serves the store's pages: what it answers, what it refuses, on a disk and on S3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from s3fs import S3FileSystem
from starlette.testclient import TestClient

from flows.pages.app import pages_app
from flows.round import STAGES, round_place
from flows.selfplay import play_rounds
from tasks.execution.progress import Snapshot
from tasks.execution.stored_progress import StoredProgress
from tasks.report import report_round
from tasks.store import Store
from tests.fixtures.small_s3 import small_s3
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_round import write_tiny_config

pytestmark = pytest.mark.timeout(600)
PLACES = ("disk", "S3")


@pytest.fixture(scope="module", params=PLACES)
def store(
    request: pytest.FixtureRequest, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store with one complete tiny round of the run `mine`."""
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        if request.param == "disk":
            monkey.setenv("ACTIVE_ZERO_STORE", str(folder / "store"))
            play_rounds("mine", 1, str(write_tiny_config(folder)))
            yield Store.from_environment()
            return
        with small_s3() as address:
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
            for name, value in {**keys, "AWS_ENDPOINT_URL": address, "ACTIVE_ZERO_STORE": "s3://pages/store"}.items():
                monkey.setenv(name, value)
            S3FileSystem.clear_instance_cache()  # those of other tests keep the addresses of their servers
            Store.from_environment().fs.mkdir("pages")
            play_rounds("mine", 1, str(write_tiny_config(folder)))
            yield Store.from_environment()
        S3FileSystem.clear_instance_cache()


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(pages_app(store), base_url="http://127.0.0.1:4201")


def document(client: TestClient, address: str) -> Any:
    """The JSON that a script of documents hands over."""
    text = client.get(address).text
    return json.loads(text[text.index(", ") + 2 : text.rindex(");")])


def test_every_page_of_the_store_is_served_with_its_files(store: Store, client: TestClient) -> None:
    for page in ("", "runs/mine/", "runs/mine/round-001/"):
        shell = client.get(f"/{page}index.html")
        assert shell.status_code == 200 and shell.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in shell.headers["content-security-policy"]
        assert shell.headers["x-content-type-options"] == "nosniff"
        names = [part.split('"')[0] for part in shell.text.split('src="')[1:]] + ["page.css"]
        assert all(client.get(f"/{page}{name}").status_code == 200 for name in names)
    assert client.get("/", follow_redirects=False).headers["location"] == "/index.html"
    assert [run["run"] for run in document(client, "/data/runs.js")["runs"]] == ["mine"]
    (column,) = document(client, "/runs/mine/data/run.js")["rounds"]
    assert column["complete"] and column["round"] == 1


def test_a_round_is_served_byte_for_byte_from_its_report(store: Store, client: TestClient) -> None:
    manifest = round_place(store, "mine", 1).manifest(report_round.name)
    assert manifest is not None
    inside = {file.name.removeprefix("page/"): file for file in manifest.files if file.name.startswith("page/")}
    for name in inside.keys() - {"index.html"}:
        assert hashlib.sha256(client.get(f"/runs/mine/round-001/{name}").content).hexdigest() == inside[name].sha256
    assert 'data-up="../index.html"' in client.get("/runs/mine/round-001/index.html").text


NOWHERE = """
/runs/mine/round-001/report.md  /runs/mine/round-001/../manifest.json  /runs/mine/round-001/%2e%2e/report.md
/runs/mine/round-001/..%2f..%2f..%2fetc/passwd  /runs/%2e%2e/%2e%2e/etc/passwd  /runs/..%2f..%2f/index.html
/etc/passwd  //etc/passwd  /runs/mine/round-1/index.html  /runs/mine/round-0x1/index.html  /runs/mine/%00
/runs/mine/round-009/index.html  /runs/nobody/index.html  /runs/mine/round-001/original/..%2f..%2fx
/runs/mine/round-001/original//etc/passwd  /runs/mine/round-001/data/../../report.md
/runs/mine/round-001/  /docs  /openapi.json  /runs/mine/round-001/page/index.html
"""


@pytest.mark.parametrize("address", NOWHERE.split())
def test_nothing_but_the_pages_is_served(client: TestClient, address: str) -> None:
    reply = client.get(address, follow_redirects=False)
    assert reply.status_code == 404
    assert "root:" not in reply.text and "fingerprint" not in reply.text


def test_only_reading_is_allowed_and_only_under_this_machines_names(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/runs/mine/index.html").status_code == 405
    assert client.get("/index.html", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/index.html", headers={"host": "localhost:4201"}).status_code == 200


def test_an_original_picture_is_the_one_of_the_corpus(client: TestClient) -> None:
    pictures = document(client, "/runs/mine/round-001/data/pictures.js")
    key = next(key for key, found in zip(pictures["keys"], pictures["retrieved"], strict=True) if found)
    reply = client.get(f"/runs/mine/round-001/original/{key}")
    assert reply.headers["content-type"] == "image/png" and reply.content.startswith(b"\x89PNG")
    assert "sandbox" in reply.headers["content-security-policy"]


def test_a_round_in_progress_tells_what_is_complete_and_what_works(store: Store, client: TestClient) -> None:
    place = round_place(store, "mine", 1)
    whole = client.get("/runs/mine/round-001/live.json").json()
    assert (whole["finished"], whole["at_work"], len(whole["complete"])) == (True, False, len(STAGES) - 1)
    removed = [FOLDER["report"], FOLDER["promote"]]
    with place.hold(wait=True) as lease:
        lease.withdraw(removed)
        stored = StoredProgress(place, "promote", every=0.0)
        stored(Snapshot(1, (FOLDER["promote"], "items"), 12, 48, {}, 3.0))
        state = client.get("/runs/mine/round-001/live.json").json()
        shell = client.get("/runs/mine/round-001/index.html").text
        stored.clear()
        silent = client.get("/runs/mine/round-001/live.json").json()
    assert (state["finished"], state["at_work"], len(state["complete"])) == (False, True, len(STAGES) - 2)
    assert state["present"] == f"{FOLDER['promote']}, items: 12/48 (25 %), 9 s left" and state["age"] < 60
    assert 'data-live="live.json"' in shell
    assert silent["present"] is None
    assert document(client, "/runs/mine/round-001/data/round.js")["complete"] is False
    assert document(client, "/runs/mine/data/run.js")["rounds"][0]["complete"] is False
