"""Any vision-language model: the general way samples what its own `generate` does, and what the fast way does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engines.architecture import placeholders
from tasks.engines.inputs import Encoder
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.transformers import GeneralEngine, TorchEngine, Transformers, load
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tests.fixtures.tiny_architectures import ARCHITECTURES, write_language_adapter, write_tiny_architecture
from tests.fixtures.tiny_vlm import tiny_picture

SIZES = [(112, 112), (120, 60), (40, 150)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_architecture(request.param, tmp_path_factory.mktemp(request.param) / "model")


def asked(sampling: Sampling, n: int = 4) -> list[Request]:
    """Requests about pictures of several shapes, and one without a picture."""
    pictures = [Picture(f"p{i}", tiny_picture(i, *size)) for i, size in enumerate(SIZES)]
    prompts = [Prompt("How many red circles?"), Prompt("Which bar?", "You look."), Prompt("row <image> 2")]
    about = [
        Request(prompt, each, None, sampling, n, i)
        for i, (prompt, each) in enumerate(zip(prompts, pictures, strict=True))
    ]
    return [*about, Request(Prompt("row 1: 2"), None, None, sampling, n, 9)]


def general(folder: Path) -> GeneralEngine:
    return GeneralEngine(Transformers(device="cpu"), str(folder), OWN_LIMITS)


def test_greedy_replies_are_those_of_generate(folder: Path) -> None:
    model, processor = load(str(folder), "cpu", "float32")
    hidden = placeholders(model.config)
    requests = asked(Sampling(12, temperature=0.0), n=1)
    for request, (reply,) in zip(requests, general(folder).generate(requests), strict=True):
        text = Encoder(processor).text(request.prompt, picture=request.picture is not None)
        images = [[request.picture.image]] if request.picture else None
        inputs = processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**inputs, max_new_tokens=12, do_sample=False, suppress_tokens=hidden)
        ids = out[0, inputs["input_ids"].shape[1] :]
        assert reply.text == processor.tokenizer.decode(ids, skip_special_tokens=True)


def test_a_reply_depends_on_its_picture_and_on_its_request_alone(folder: Path) -> None:
    requests = asked(Sampling(12), n=4)
    engine = general(folder)
    groups = engine.generate(requests)
    assert engine.generate([replace(requests[0], first=2, n=2)]) == [groups[0][2:]]
    assert engine.generate(requests[::-1]) == groups[::-1]
    other = replace(requests[0], picture=requests[1].picture)
    assert engine.generate([other])[0] != groups[0]


def test_the_saved_sampling_defaults_of_a_model_do_not_apply(folder: Path, tmp_path: Path) -> None:
    model, processor = load(str(folder), "cpu", "float32")
    model.generation_config.repetition_penalty = 1.5
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    requests = asked(Sampling(12, temperature=0.7, top_p=0.9), n=2)
    assert general(tmp_path).generate(requests) == general(folder).generate(requests)


def test_an_adapter_changes_replies_and_leaves_the_base(folder: Path, tmp_path: Path) -> None:
    adapter = Adapter("a", write_language_adapter(folder, tmp_path / "a"))
    requests = asked(Sampling(12))
    engine = general(folder)
    before = engine.generate(requests)
    adapted = engine.generate([replace(request, adapter=adapter) for request in requests])
    assert adapted != before
    assert engine.generate(requests) == before


def test_both_ways_sample_the_same_text(tmp_path: Path) -> None:
    folder = write_tiny_architecture("qwen2_5_vl", tmp_path / "model")
    adapter = Adapter("a", write_language_adapter(folder, tmp_path / "a"))
    fast = Transformers(device="cpu").open(str(folder), OWN_LIMITS)
    assert isinstance(fast, TorchEngine)
    for sampling in (Sampling(12), Sampling(12, temperature=0.0), Sampling(12, 0.7, 0.9, 40)):
        requests = [replace(each, adapter=chosen) for chosen in (None, adapter) for each in asked(sampling)]
        assert fast.generate(requests) == general(folder).generate(requests)


@pytest.mark.parametrize("name", ["internvl", "gemma3", "idefics3", "llava_onevision"])
def test_a_budget_for_pictures_of_fixed_sizes_is_an_error(name: str, tmp_path: Path) -> None:
    folder = write_tiny_architecture(name, tmp_path / "model")
    with pytest.raises(UserError, match="has sizes of its own: set pictures"):
        Transformers(device="cpu").open(str(folder), PictureBudget(max_pixels=50_000))
