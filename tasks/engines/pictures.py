"""The size of pictures as the model sees them: one budget for processor, engines and trainers."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tasks.settings.base import Settings
from tasks.settings.errors import UserError


class PictureBudget(Settings):
    """Pixels of a picture as it enters the model. A prompt then has the same tokens in every engine and trainer."""

    min_pixels: int | None = Field(None, ge=1)
    """Smaller pictures are enlarged to about this many pixels; null keeps the model's own limit."""
    max_pixels: int | None = Field(None, ge=1)
    """Larger pictures are reduced to about this many pixels; null keeps the model's own limit."""

    @model_validator(mode="after")
    def _in_order(self) -> PictureBudget:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels ({self.min_pixels}) is above max_pixels ({self.max_pixels})")
        return self

    def apply(self, processor: Any) -> Any:
        """The processor with these limits; its image processor resizes by them from now on.

        `UserError` for limits on a processor that cuts pictures into tiles, or makes all of one size.
        """
        if self.edges() and not hasattr(processor.image_processor, "merge_size"):
            raise UserError(
                f"{type(processor.image_processor).__name__} has sizes of its own: "
                "set pictures.min_pixels and pictures.max_pixels to null"
            )
        for edge, pixels in self.edges().items():
            setattr(processor.image_processor.size, edge, pixels)
        return processor

    def edges(self) -> dict[str, int]:
        """The limits that are set, by the names that Qwen's image processors have for them."""
        limits = {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}
        return {edge: pixels for edge, pixels in limits.items() if pixels is not None}


OWN_LIMITS = PictureBudget()
"""The limits that were saved with the model."""
