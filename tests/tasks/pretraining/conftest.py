"""The shipped tiny model, loaded once a test file."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.settings.overlay import ROOT

MODEL = ROOT / "infra" / "models" / "vlm"


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    """Model and processor."""
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL).eval(), AutoProcessor.from_pretrained(MODEL)
