"""Formulas against the bytes of real tensors, on a scaled model: each within 10 %."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tasks.engines.architecture import language_linears
from tasks.engines.decode import _empty_prompts
from tasks.engines.decoder import Decoder
from tasks.engines.inputs import run_vision_tower
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.transformers import load
from tasks.memory.formulas import activation_bytes, feature_bytes, kv_bytes, logits_bytes, saved_bytes, visual_tokens
from tasks.memory.shape import ModelShape, read_shape
from tasks.memory.terms import MemoryTerms
from tasks.memory.trainer import state_memory
from tasks.trainers import TRL, LoRA
from tests.fixtures.tiny_vlm import TinyShape, write_tiny_vlm
from tests.gpu.true_shape import photograph

SCALED = TinyShape(hidden=256, layers=4, heads=4, kv_heads=2, intermediate=1024, vision_hidden=64, vocabulary=512)
LORA = LoRA(rank=4, alpha=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_vlm(tmp_path_factory.mktemp("scaled"), SCALED)


@pytest.fixture
def shape(folder: Path) -> ModelShape:
    found = read_shape(folder)
    assert found is not None
    return found


@pytest.fixture
def model(folder: Path) -> Any:
    return load(str(folder), "cpu", "float32")[0]


def adapted(model: Any) -> Any:
    settings = LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules=language_linears(model))
    return get_peft_model(model, settings)


def size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def close(measured: int) -> Any:
    return pytest.approx(measured, rel=0.1)


def after_a_step(model: Any) -> MemoryTerms:
    """Bytes of trained parameters, gradients and AdamW's moments after one step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = (state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq"))
    gradients = (parameter.grad for parameter in trained if parameter.grad is not None)
    return MemoryTerms(adapters=size(trained), gradients=size(gradients), adam=size(moments))


def test_weights_are_the_bytes_of_the_parameters(model: Any, shape: ModelShape) -> None:
    assert 4 * shape.parameters == close(size(model.parameters()))


def test_an_adapter_has_these_gradients_and_moments(model: Any, shape: ModelShape) -> None:
    planned, measured = state_memory(TRL(lora=LORA), shape), after_a_step(adapted(model))
    assert planned.adapters == close(measured.adapters)
    assert planned.gradients == close(measured.gradients)
    assert planned.adam == close(measured.adam)


def test_a_whole_model_has_these_gradients_and_moments(model: Any, shape: ModelShape) -> None:
    model.model.language_model.requires_grad_(True)
    planned, measured = state_memory(TRL(lora=None), shape), after_a_step(model)
    assert planned.gradients == close(measured.gradients)
    assert planned.adam == close(measured.adam)
    assert planned.reference == close(size(model.parameters()) + measured.adapters)


def test_a_picture_has_features_of_this_size(folder: Path, shape: ModelShape) -> None:
    model, processor = load(str(folder), "cpu", "float32", OWN_LIMITS)
    (features,) = run_vision_tower(model, processor, [photograph(1, 1000, 1000)])
    assert feature_bytes(shape.vision, visual_tokens(shape.vision, shape.max_pixels), 4) == close(features.size())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_token_has_keys_and_values_of_this_size(model: Any, shape: ModelShape, dtype: torch.dtype) -> None:
    prompts = _empty_prompts(Decoder(model.to(dtype)), torch.tensor([50, 50]), 50)
    assert 100 * kv_bytes(shape.language, dtype.itemsize) == close(size([*prompts.keys, *prompts.values]))


def test_a_table_of_logits_has_this_size(model: Any, shape: ModelShape) -> None:
    logits = model.lm_head(torch.zeros(10, SCALED.hidden)).float()
    assert logits_bytes(shape.language, 10) == close(logits.nbytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_save_these_activations(model: Any, shape: ModelShape, dtype: torch.dtype) -> None:
    saved = saved_by_layers(model.to(dtype), dtype)
    language = shape.language
    assert 512 * language.layers * saved_bytes(language, dtype.itemsize) == close(saved)


def test_checkpointing_saves_the_inputs_of_layers(shape: ModelShape) -> None:
    language = shape.language
    kept, recomputed = (activation_bytes(language, 512, 4, checkpointing) for checkpointing in (False, True))
    layer = 512 * saved_bytes(language, 4)
    assert kept - recomputed == (language.layers - 1) * layer - 512 * language.layers * language.hidden * 4


def saved_by_layers(model: Any, dtype: torch.dtype) -> int:
    """Bytes that the language model's layers save for the backward pass of 512 tokens, each storage once."""
    language = adapted(model).get_base_model().model.language_model
    parameters = {parameter.untyped_storage().data_ptr() for parameter in language.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage
        return tensor

    embeddings, positions = torch.randn(1, 512, SCALED.hidden, dtype=dtype), torch.arange(512).expand(3, 1, 512)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        language(inputs_embeds=embeddings, position_ids=positions, use_cache=False)
    return sum(storage.nbytes() for storage in saved.values())
