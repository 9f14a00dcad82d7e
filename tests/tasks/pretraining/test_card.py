"""The shipped model card has the text of its template."""

from __future__ import annotations

import re

from tasks.pretraining.card import CARD
from tasks.settings.overlay import ROOT


def test_the_shipped_card_differs_from_its_template_in_figures_only() -> None:
    template = re.sub(r"\\\{[^}]*\\\}", "[^a-z]*", re.escape(CARD.partition("## Formats")[0]))
    card = (ROOT / "infra" / "models" / "README.md").read_text()
    assert re.match(template, card)
    assert re.findall("^## .*", card, re.MULTILINE) == re.findall("^## .*", CARD, re.MULTILINE)
