from __future__ import annotations

from pathlib import Path

import pytest

from tasks.estimates.rates import Lengths, load_rates
from tasks.settings.errors import UserError

SEVEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def test_the_shipped_rates_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "gpu/README.md").read_text()
    rates = load_rates("rates-h100")
    assert f"| {_spaced(rates.models[SEVEN.replace('7B', '3B')])} | {_spaced(rates.models[SEVEN])} |" in page
    assert str(rates.date) in page
    assert all(f"{model.training.seconds_per_step:g} s" in page for model in rates.models.values())


def _spaced(model: object) -> str:
    return f"{model.scoring.tokens_per_second:,.0f}".replace(",", " ")  # type: ignore[attr-defined]


def test_a_rate_gives_back_the_time_of_what_was_timed() -> None:
    rates = load_rates("rates-h100")
    model = rates.of_model(SEVEN)
    scored, trained = model.scoring, model.training
    one = scored.seconds(scored.weight(rates.read), rates.read)
    assert 48 * one == pytest.approx(48 * 8 * 256 / 5439)
    assert 8 * trained.seconds(trained.weight(rates.read), rates.read) == pytest.approx(15.6)


def test_a_read_token_costs_a_part_of_a_written_one() -> None:
    lengths = Lengths(prompt=1000, completions=8, tokens=100)
    assert lengths.weight(0.0) == 800
    assert lengths.weight(0.3) == 1100


def test_a_revision_has_the_rates_of_its_model() -> None:
    rates = load_rates("rates-h100")
    assert rates.of_model(f"{SEVEN}@abc") == rates.of_model(SEVEN)


def test_a_model_without_rates_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="have no model infra/models/vlm: they have Qwen"):
        load_rates("rates-h100").of_model("infra/models/vlm")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("price: -1", "price: "),
        ("reed: 0.3", "unknown key reed; did you mean read?"),
        ("efficiency: 2", "efficiency: "),
    ],
)
def test_a_mistake_in_rates_is_one_line(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rates.yaml"
    shipped = Path(__file__).parents[3] / "configs/rates-h100.yaml"
    key = line.partition(":")[0]
    file.write_text("\n".join([*(text for text in shipped.read_text().splitlines() if not text.startswith(key)), line]))
    with pytest.raises(UserError) as caught:
        load_rates(str(file))
    assert str(caught.value).startswith("rates rates.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)
