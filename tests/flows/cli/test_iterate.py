from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tasks.reporting.page_files import document_in
from tasks.store import Place, Store
from tests.fixtures.command_line import contents, output_of
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_round import write_tiny_config


def test_a_model_without_weights_is_refused_before_anything_runs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "config.json").write_text("{}")
    before = contents(store)
    assert command(["iterate", "--set", f"model={tmp_path / 'vlm'}"]) == USER
    assert "lacks weights" in capsys.readouterr().err
    assert contents(store) == before


def test_a_round_that_another_process_plays_is_refused_in_a_line(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "Place.round(Store(sys.argv[1]), 'r', 2)"
    program = f"import sys\nfrom tasks.store import *\nwith {place}.hold(False): print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        other.stdout.readline()
        assert command(["iterate", "--run", "r"]) == USER
        line = f"runs/r/round-002 is being played by process {other.pid} on "
        assert capsys.readouterr().err.startswith(f"active-zero: {line}")
        other.communicate("")


LOADING = """
import sys
from datasets import load_dataset
from peft import PeftModel
from transformers import AutoModelForImageTextToText
base, exported = sys.argv[1:]
loaded = load_dataset(exported)
assert {"train", "rejected"} == set(loaded)
for role in ("searcher", "questioner", "solver"):
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), f"{exported}/players/{role}")
    assert any("lora" in name for name, _ in model.named_parameters())
"""
"""What a program does that knows nothing of this one."""


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(300)
def test_iterate_prints_its_round_and_reuses_complete_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "store"))
    config = str(write_tiny_config(tmp_path))
    assert command(["iterate", "--config", config, "--run", "mine"]) == 0
    first = capsys.readouterr()
    lines = first.out.strip().splitlines()
    assert lines[0] == "Run mine, round 1"
    assert lines[1].startswith("world:heldout, mean of 2: ")
    assert lines[2].startswith("world:heldout, greedy: ")
    assert lines[-5].startswith(("promoted: ", "rolled back: "))
    assert lines[-4].startswith("replies: ")
    assert lines[-3].startswith("label accuracy: ")
    assert lines[-2].startswith("gold items: ")
    report = Path(lines[-1].removeprefix("report: "))
    assert report.read_text().startswith("# Run mine, round 1")
    assert {path.name for path in report.parent.iterdir()} == {
        "report.md", "report.png", "page", "summary.txt", "scores.json",
    }  # fmt: skip
    assert f"{FOLDER['filter']}: " in first.err
    assert "Traceback" not in first.err
    (log,) = (tmp_path / "cache" / "active-zero" / "logs").iterdir()
    assert log.name.startswith("iterate-") and f"{FOLDER['filter']}: " in log.read_text()

    folder = tmp_path / "clocks"
    assert output_of(capsys, "page", "mine", "--round", "1", "--to", str(folder)) == f"{folder / 'index.html'}\n"
    made_by_hand = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    attached = report.parent / "page"
    made_by_report = {path.relative_to(attached): path.read_bytes() for path in attached.rglob("*") if path.is_file()}
    assert made_by_hand == made_by_report
    told = document_in((attached / "data" / "round.js").read_bytes())
    assert told["blindTold"] and told["trainingTold"] == ["questioner", "searcher", "solver"]
    exported = tmp_path / "exported"
    arguments = ["export", "mine", "--round", "1", "--to", str(exported), "--players"]
    assert output_of(capsys, *arguments).splitlines()[-1] == str(exported / "README.md")
    base, loading = str(tmp_path / "vlm"), tmp_path / "load.py"
    loading.write_text(LOADING)
    subprocess.run([sys.executable, str(loading), base, str(exported)], check=True, cwd=tmp_path, timeout=200)

    manifest = Place.round(Store(str(tmp_path / "store")), "mine", 1).uri(FOLDER["promote"]).removeprefix("file://")
    (Path(manifest) / "manifest.json").unlink()
    assert command(["iterate", "--config", config, "--run", "mine"]) == 0
    again = capsys.readouterr()
    assert f"{FOLDER['filter']}: reused" in again.err
    assert again.out.strip().splitlines()[0] == "Run mine, round 1"
    page = tmp_path / "page.html"
    arguments = ["curriculum", "mine", "--all", "--format", "html", "--config", config, "--out", str(page)]
    output_of(capsys, *arguments, wrote=page)
    assert "data:image/webp;base64," in page.read_text()
