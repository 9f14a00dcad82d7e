from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.memory.cards import GIB, card_named
from tasks.memory.shape import PUBLISHED, ModelShape, adapter_parameters, published, read_shape
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT
from tests.fixtures.tiny_vlm import write_tiny_vlm

CHECKPOINTS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
}
"""Half of `metadata.total_size` in each published `model.safetensors.index.json`, which counts bytes of bfloat16."""


def shape_in(folder: Path) -> ModelShape:
    shape = read_shape(folder)
    assert shape is not None
    return shape


def test_published_shapes_have_the_checkpoints_parameters() -> None:
    assert {name: shape.parameters for name, shape in PUBLISHED.items()} == CHECKPOINTS


def test_a_revision_does_not_change_the_shape() -> None:
    assert published("Qwen/Qwen2.5-VL-7B-Instruct@abc") == PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"]
    assert published("someone/else") is None


def test_the_formula_counts_what_the_files_hold(tmp_path: Path) -> None:
    for folder in (write_tiny_vlm(tmp_path / "tiny"), ROOT / "infra/models/vlm"):
        shape = shape_in(folder)
        assert shape.stored == shape.language.parameters + shape.vision.parameters


def test_an_index_counts_where_the_weights_are_missing(tmp_path: Path) -> None:
    folder = write_tiny_vlm(tmp_path / "tiny")
    counted = shape_in(folder).parameters
    (folder / "model.safetensors").unlink()
    assert shape_in(folder).stored is None
    index = {"metadata": {"total_size": 4 * counted}, "weight_map": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shape_in(folder).stored == counted


def test_the_old_layout_of_config_json_is_read(tmp_path: Path) -> None:
    text = {"hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 2}
    more = {"intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": True, "model_type": "qwen2_5_vl"}
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14, "out_hidden_size": 2048}
    (tmp_path / "config.json").write_text(json.dumps({**text, **more, "vision_config": vision}))
    assert read_shape(tmp_path) == PUBLISHED["Qwen/Qwen2.5-VL-3B-Instruct"]


def test_another_family_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    assert read_shape(tmp_path) is None


def test_an_adapter_has_parameters_where_its_targets_match() -> None:
    language = PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"].language
    one = adapter_parameters(language, 32, r".*language_model.*\.q_proj")
    assert one == 32 * 28 * (3584 + 3584)
    assert adapter_parameters(language, 32, r".*visual.*") == 0
    assert adapter_parameters(language, 32, None) == adapter_parameters(language, 32, r".*language_model.*_proj")


def test_a_card_has_a_name_or_a_size() -> None:
    assert card_named("24").total == 24 * GIB
    assert 79 * GIB < card_named("H100-80").total < 80 * GIB
    for text in ("h100", "-1", "nan"):
        with pytest.raises(UserError, match="give a number of GiB, or one of rtx3090-24"):
            card_named(text)
