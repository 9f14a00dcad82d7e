"""The worked examples of `configs/examples`: every command of their pages runs and prints what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from tasks.settings.overlay import ROOT
from tests.fixtures.shards import ordinary_shards
from tests.fixtures.small_s3 import small_s3

EXAMPLES = ROOT / "configs" / "examples"
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "chelsea", "camera", "coins", "brick", "grass", "gravel", "page")


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each `$ command` of the page's console blocks, with the output that the page shows below it."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown


def matches(shown: list[str], printed: str) -> bool:
    """Whether the output has the shown lines, in order; `...` stands for anything, within a line or for lines."""
    pattern = ".*".join(re.escape(part) for part in "\n".join(shown).split("..."))
    lines = "\n".join(line.rstrip() for line in printed.splitlines())
    return re.search(pattern, f"{lines}\n", re.DOTALL) is not None


def run_page(name: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a page's commands one after another in `folder`; `export` lines change the environment of the later ones."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, shown in commands(EXAMPLES / name / "README.md"):
        if exported := re.fullmatch(r"export (\w+)=(\S+)", command):
            variables[exported[1]] = exported[2]
            continue
        done = subprocess.run(command, shell=True, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        assert matches(shown, done.stdout), f"{command}\nprinted\n{done.stdout}\ninstead of\n" + "\n".join(shown)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository's root to a command: configs, models, flows and tasks by links."""
    for name in ("configs", "infra", "flows", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("prefect_server")
def test_own_photographs(checkout: Path, prefect_api: str) -> None:
    import skimage

    folder = checkout / "photographs"
    folder.mkdir()
    for name in PHOTOGRAPHS:
        for source in (Path(skimage.__file__).parent / "data").glob(f"{name}.*"):
            if Image.registered_extensions().get(source.suffix):
                shutil.copy(source, folder)
    run_page("own-photographs", checkout, {"PREFECT_API_URL": prefect_api})


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("prefect_server")
def test_own_benchmark(checkout: Path, prefect_api: str) -> None:
    run_page("own-benchmark", checkout, {"PREFECT_API_URL": prefect_api})


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("prefect_server")
def test_laion_on_s3(checkout: Path, tmp_path: Path, prefect_api: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with small_s3() as address:
        # Not from the cache: other tests of this process have servers of their own.
        options = {"endpoint_url": address, "key": "key", "secret": "secret", "skip_instance_cache": True}
        bucket = fsspec.filesystem("s3", **options)
        bucket.mkdir("bucket")
        bucket.put(str(ordinary_shards(tmp_path / "laion", shards=2, pictures=12)), "bucket/laion", recursive=True)
        environment = {**keys, "AWS_ENDPOINT_URL": address, "PREFECT_API_URL": prefect_api}
        run_page("laion-on-s3", checkout, environment)


@pytest.fixture
def prefect_api() -> str:
    """The address of the test session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())
