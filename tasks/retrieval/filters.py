"""A filter on search results: words of the caption, size, and safety scores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.settings.base import Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Share = Annotated[float, Field(ge=0, le=1)]


class Filter(Settings):
    """Conditions that a search result must meet. A missing score passes; a missing caption contains no words."""

    words: tuple[str, ...] = ()
    """The caption contains one of these words or phrases, in any case. Empty: any caption."""
    min_side: int = Field(default=0, ge=0)
    """Lowest allowed length of the shorter side, in pixels."""
    max_unsafe: Share = 1.0
    """Highest allowed `punsafe`."""
    max_watermark: Share = 1.0
    """Highest allowed `pwatermark`."""

    @property
    def passes_all(self) -> bool:
        """Whether the filter excludes nothing."""
        return self == Filter()

    def passed(self, samples: pa.Table) -> NDArray[np.bool_]:
        """Flags [rows] of the `Sample` rows that pass."""
        import numpy as np
        import pyarrow.compute as pc

        side = pc.min_element_wise(samples["width"], samples["height"])
        limits = [
            pc.less_equal(samples["punsafe"], self.max_unsafe),
            pc.less_equal(samples["pwatermark"], self.max_watermark),
            pc.greater_equal(side, self.min_side),
        ]
        if self.words:
            pattern = rf"(?i)\b({'|'.join(map(re.escape, self.words))})\b"
            limits.append(pc.match_substring_regex(samples["caption"].fill_null(""), pattern))
        passed: NDArray[np.bool_] = np.logical_and.reduce([pc.fill_null(limit, True).to_numpy() for limit in limits])
        return passed
