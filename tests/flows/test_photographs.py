"""A round on photographs of 0.01 to 12 megapixels, with a model folder in the published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.round import FOLDERS
from flows.selfplay import play_rounds
from tasks.config import load_config
from tasks.corpus import built_index, open_corpus, place_of
from tasks.engines.decode import encode
from tasks.engines.general import encode as encode_by_processor
from tasks.engines.inputs import VisionCache
from tasks.engines.request import Request, Sampling
from tasks.engines.transformers import load
from tasks.records import LabelledQuestion, Question
from tasks.records.prompt import Prompt
from tasks.store import Place, Store
from tests.fixtures.photograph_round import LESSONS, photograph_overrides
from tests.fixtures.photographs import LARGEST
from tests.fixtures.speaking_architectures import write_speaking_architecture
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_architectures import ARCHITECTURES

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]


def play(run: str, overrides: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Plays a round, in which all stages complete and every reject has its reason."""
    store = Store(str(folder / "store"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", store.url)
    play_rounds(run, overrides=overrides)
    stages = {name: manifest for name, manifest in store.stages(run, 1) if manifest}
    assert tuple(stages) == FOLDERS
    assert stages[FOLDER["filter"]].counters["kept"] > 0
    place = Place.round(store, run, 1)
    questions = place.find(FOLDER["synthesize"], Question)
    assert questions is not None and all(row.reason or row.text for row in questions.read())
    labelled = place.find(FOLDER["filter"], LabelledQuestion)
    assert labelled is not None and all(row.reason or row.label for row in labelled.read())
    return store


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "qwen2_5_vl"])
def test_a_round_of_another_architecture_completes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_speaking_architecture(name, tmp_path / "model", LESSONS)
    budget = (
        {"min_pixels": 64 * 64, "max_pixels": 128 * 128}
        if name == "qwen3_vl"
        else {"min_pixels": None, "max_pixels": None}
    )
    tokens = {
        "prompts__solver__max_tokens": 24,
        "prompts__searcher__max_tokens": 64,
        "prompts__questioner__max_tokens": 96,
    }
    play(f"photographs-{name}", photograph_overrides(tmp_path, model, pictures=budget, **tokens), tmp_path, monkeypatch)


def test_a_round_on_photographs_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts have the same tokens in both ways for every photograph."""
    overrides = photograph_overrides(tmp_path)
    store = play("photographs", overrides, tmp_path, monkeypatch)

    config = load_config("tiny", overrides)
    corpus = open_corpus(place_of(store, config.corpus.at))
    samples = built_index(place_of(store, config.corpus.at)).read()
    assert [row.reason for row in samples if row.reason] == ["too narrow: 1x900"]
    assert LARGEST in {(row.width, row.height) for row in samples if row.reason is None}
    pictures = corpus.pictures([row.key for row in samples if row.reason is None])
    model, processor = load(config.model, "cpu", "float32", config.pictures)
    requests = [Request(Prompt("ask"), picture, None, Sampling(4)) for picture in pictures]
    fast = encode(model, processor, requests, VisionCache())
    own = encode_by_processor(processor, requests)  # one at a time: a decoded photograph takes up to 36 MB
    assert [each.ids for each in fast] == [each.ids.tolist() for each in own]
