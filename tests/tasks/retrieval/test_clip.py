"""Embeddings equal open_clip's, and their fingerprint follows what decides them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.retrieval.clip import Clip, Preprocess, vector_cache
from tasks.settings.errors import UserError
from tests.fixtures.shards import picture
from tests.fixtures.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(model=f"local-dir:{write_tiny_clip(tmp_path_factory.mktemp('clip'))}")


def images(count: int = 5) -> list[Image.Image]:
    sizes = [(112, 112), (300, 200), (64, 128), (112, 112), (33, 17)]
    return [Image.open(io.BytesIO(picture(seed, size))) for seed, size in zip(range(count), sizes, strict=False)]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_batched_preprocessing_equals_open_clips_bit_for_bit(mode: str) -> None:
    settings = {"size": 112, "resize_mode": mode, "interpolation": "bicubic", "mean": (0.48, 0.45, 0.4)}
    preprocess = Preprocess(settings)
    assert torch.equal(preprocess(images()), torch.stack([preprocess.whole(image) for image in images()]))


def test_vectors_are_the_models_own_with_unit_length(clip: Clip) -> None:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(clip.model)
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.stack([preprocess(image) for image in images()]), normalize=True)
    vectors = clip.open().embed_images(iter(images()))
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-3)
    texts = clip.open().embed_texts(["a bar chart", "a clock"])
    assert (texts.dtype, texts.shape) == (np.float32, (2, 32))
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_case_and_white_space_do_not_change_a_query(clip: Clip) -> None:
    mixed, plain, different = clip.open().embed_texts(["A  Bar CHART", "a bar chart", "a clock"])
    np.testing.assert_array_equal(mixed, plain)
    assert not np.array_equal(mixed, different)


def test_a_long_query_is_cut_and_an_empty_one_embedded(clip: Clip) -> None:
    assert np.isfinite(clip.open().embed_texts(["word " * 500, ""])).all()


def test_no_inputs_give_no_vectors(clip: Clip) -> None:
    assert clip.open().embed_images([]).shape == (0, 32)
    assert clip.open().embed_texts([]).shape == (0, 32)


def test_weights_and_normalisation_decide_the_fingerprint(clip: Clip, tmp_path: Path) -> None:
    same = write_tiny_clip(tmp_path / "same")
    assert Clip(model=f"local-dir:{same}", batch=3, threads=1).open().space.fingerprint == clip.open().space.fingerprint
    other = write_tiny_clip(tmp_path / "other", seed=1)
    assert Clip(model=f"local-dir:{other}").open().space.fingerprint != clip.open().space.fingerprint
    config = same / "open_clip_config.json"
    config.write_text(config.read_text().replace('"lower"', '"whitespace"'))
    assert Clip(model=f"local-dir:{same}").open().space.fingerprint != clip.open().space.fingerprint


def test_the_space_of_a_known_folder_is_read_without_loading_a_model(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path / "clip")
    code = "from tasks.retrieval.clip import Clip; import sys; space = Clip(model=sys.argv[1]).space; "
    code += "print(space.model_dump_json(), 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, f"local-dir:{folder}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    first, second = (
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    )
    assert (first[1], second[1]) == ("True", "False")
    assert first[0] == second[0] == Clip(model=f"local-dir:{folder}").open().space.model_dump_json()
    for note in (tmp_path / "cache").rglob("*.json"):
        note.write_text("")  # as a power failure leaves it
    assert subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split() == first
    (folder / "open_clip_model.safetensors").write_bytes(
        (write_tiny_clip(tmp_path / "other", seed=1) / "open_clip_model.safetensors").read_bytes()
    )
    third = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    assert third[1] == "True" and third[0] != second[0]


def test_a_folder_without_a_model_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no embedding model in"):
        Clip(model=f"local-dir:{tmp_path}").open()


def test_a_folder_without_weights_is_the_users_mistake(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path / "clip")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        Clip(model=f"local-dir:{folder}").open()


def test_an_unknown_name_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        Clip(model="ViT-Z-99").open()


def test_relative_folders_start_at_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    repository = Path(__file__).parents[3]
    with pytest.raises(UserError, match=str(repository / "infra/nothing")):
        Clip(model="local-dir:infra/nothing").open()


def test_queries_are_cached_by_model(clip: Clip, tmp_path: Path) -> None:
    texts = ["a cached query", "another", "a cached query"]
    np.testing.assert_allclose(clip.open().embed_queries(texts), clip.open().embed_texts(texts), atol=1e-6)
    other = Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'other', seed=1)}").open()
    assert not np.array_equal(other.embed_queries(texts), clip.open().embed_queries(texts))


def test_the_cache_is_bounded_in_bytes_and_drops_the_oldest() -> None:
    cache = vector_cache(max_bytes=3 * 128)
    for number in range(5):
        cache["model", str(number)] = np.zeros(32, np.float32)
    assert (len(cache), cache.currsize) == (3, 384)
    assert cache.get(("model", "1")) is None and cache.get(("model", "4")) is not None


def test_a_siglip_text_tower_gets_lower_case_texts(clip: Clip, tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path / "siglip-in-the-path")
    assert Clip(model=f"local-dir:{folder}").open().space.fingerprint == clip.open().space.fingerprint
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"lower"', '"whitespace"').replace("this folder", "timm/ViT-SigLIP2"))
    mixed, lower = Clip(model=f"local-dir:{folder}", batch=7).open().embed_texts(["A Bar CHART", "a bar chart"])
    np.testing.assert_array_equal(mixed, lower)
