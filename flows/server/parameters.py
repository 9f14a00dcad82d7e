"""Types of the fields in a deployment's form. Flat, so that the page shows each field and the server checks it.

`flows.server.forms` adds the rules that the server tells in words.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.round import FOLDERS
from tasks.settings.addresses import Address
from tasks.store.place import NAME

RunName = Annotated[str, Field(pattern=f"^{NAME}$", max_length=100)]
Rounds = Annotated[int, Field(ge=1, le=1000)]
Text = Annotated[str, Field(min_length=1)]
Location = Annotated[Address, Field(min_length=1)]
Override = Annotated[str, Field(min_length=1)]
"""One setting by its dotted name: `filter.low=0.5`."""
StageName = Annotated[str, Field(json_schema_extra={"enum": [*FOLDERS]})]
