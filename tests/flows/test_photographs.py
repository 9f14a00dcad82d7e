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
from tests.fixtures.photograph_round import photograph_overrides
from tests.fixtures.photographs import LARGEST
from tests.fixtures.stages import FOLDER

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]


def test_a_round_on_photographs_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages; every reject has its reason; prompts have the same tokens in both ways for every photograph."""
    store = Store(str(tmp_path / "store"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", store.url)
    overrides = photograph_overrides(tmp_path)
    play_rounds("photographs", overrides=overrides)
    stages = {name: manifest for name, manifest in store.stages("photographs", 1) if manifest}
    assert tuple(stages) == FOLDERS
    assert stages[FOLDER["filter"]].counters["kept"] > 0
    place = Place.round(store, "photographs", 1)
    questions = place.find(FOLDER["synthesize"], Question)
    assert questions is not None and all(row.reason or row.text for row in questions.read())
    labelled = place.find(FOLDER["filter"], LabelledQuestion)
    assert labelled is not None and all(row.reason or row.label for row in labelled.read())

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
