"""Tokens follow the distribution that the sampling settings describe."""

from __future__ import annotations

import pytest
import torch

from tasks.engines.request import Sampling
from tasks.engines.sampling import draw, uniforms

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -30.0])
DRAWS = 20_000


def frequencies(sampling: Sampling, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    uniform = torch.from_numpy(uniforms(1, 2, DRAWS))
    token, _ = draw(logits.expand(DRAWS, -1), uniform, sampling)
    return torch.bincount(token, minlength=len(logits)) / DRAWS


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_temperature(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(-1)
    assert frequencies(Sampling(1, temperature)).allclose(expected, atol=0.015)


def test_top_k_leaves_the_k_likeliest() -> None:
    expected = LOGITS[:3].softmax(-1)
    drawn = frequencies(Sampling(1, top_k=3))
    assert drawn[:3].allclose(expected, atol=0.015)
    assert drawn[3:].sum() == 0


def test_top_p_leaves_the_smallest_set_of_that_mass() -> None:
    probabilities = LOGITS.softmax(-1)  # 0.55, 0.20, 0.12, ...
    drawn = frequencies(Sampling(1, top_p=0.7))
    assert drawn[:2].allclose(probabilities[:2] / probabilities[:2].sum(), atol=0.015)
    assert drawn[2:].sum() == 0


def test_a_nucleus_wider_than_the_sorted_candidates_is_complete() -> None:
    flat = torch.zeros(1000)
    uniform = torch.linspace(0, 1 - 1e-6, 2000)
    token, _ = draw(flat.expand(2000, -1), uniform, Sampling(1, top_p=0.9))
    assert 899 <= len(token.unique()) <= 901


def test_a_token_of_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([[0.0, float("-inf"), 0.0, float("-inf")]]).expand(4, -1)
    token, _ = draw(logits, torch.tensor([0.0, 0.5, 0.5 + 1e-6, 1 - 2**-24]), Sampling(1))
    assert set(token.tolist()) <= {0, 2}


def test_temperature_zero_is_greedy_for_any_random_number() -> None:
    token, logprob = draw(LOGITS[None], torch.tensor([0.99]), Sampling(1, temperature=0))
    assert token.tolist() == [0]
    assert logprob.item() == pytest.approx(LOGITS.log_softmax(-1)[0].item(), abs=1e-6)


def test_random_numbers_depend_on_seed_and_completion_alone() -> None:
    assert uniforms(3, 1, 5).tolist() == uniforms(3, 1, 9)[:5].tolist()
    assert uniforms(3, 1, 5).tolist() != uniforms(3, 2, 5).tolist() != uniforms(4, 1, 5).tolist()
    assert uniforms(-1, 0, 1).tolist() == uniforms(2**64 - 1, 0, 1).tolist()
