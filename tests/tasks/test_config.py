"""One typed configuration: every file loads, and every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.benchmarks.statistics import Gain
from tasks.config import Draw, LeakageConfig, RunConfig, load_config
from tasks.promote import apply_rule
from tasks.roles.questioner import ParsedQuestion, parse, prompt
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest
from tasks.settings.overlay import CONFIGS, keys, merge, override
from tasks.world import DOMAINS

PROFILES = ["tiny", "qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen3-vl-8b", "paper", "paper+safe"]


def mistake(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config("tiny", overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_profile_is_tested() -> None:
    others = {"domains", "world-domains", "rates-h100"}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*PROFILES, *others}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_loads(name: str) -> None:
    assert load_config(name).domains


def test_the_default_profile_is_the_tiny_one() -> None:
    assert load_config() == load_config("tiny")


def test_the_tiny_domains_are_the_worlds() -> None:
    assert [domain.name for domain in load_config("tiny").domains] == list(DOMAINS)


def test_there_are_62_domains_as_published() -> None:
    assert len(load_config("paper").domains) == 62


def test_the_tiny_prompts_are_those_of_the_base_models_training() -> None:
    prompts = load_config("tiny").prompts
    assert (prompts.searcher.user, prompts.questioner.user) == ("search : {{ domain.name }}", "ask")
    assert prompts.solver.user == "{{ question }}"
    assert prompts.searcher.system is prompts.questioner.system is prompts.solver.system is None


def test_the_paper_profile_has_the_published_settings() -> None:
    paper = load_config("paper")
    train = paper.train
    assert [role.steps for role in (train.searcher, train.questioner, train.solver)] == [10, 10, 30]
    roles = (train.searcher, train.questioner, train.solver)
    assert all(role.prompts * role.rollouts == 512 * 8 and role.updates == 4 for role in roles)
    assert all(role.learning_rate == 1e-6 and role.beta == 0.01 and role.lora is None for role in roles)
    assert (paper.filter.low, paper.filter.high, paper.filter.answers) == (0.3, 0.8, 9)
    assert (paper.rewards.preset, paper.rewards.answers, paper.search.queries, paper.search.top_k) == (
        "repo",
        10,
        6000,
        5,
    )


def test_the_paper_profile_samples_as_the_published_code() -> None:
    paper = load_config("paper")
    published = Draw(temperature=1.0, top_p=0.95)
    assert paper.search.draw == paper.synthesize.draw == paper.rewards.question_draw == published
    assert paper.rewards.answer_draw == Draw(temperature=1.0, top_p=0.95, top_k=40)
    assert paper.filter.draw == Draw(temperature=1.0, top_k=40)
    assert (paper.pictures.min_pixels, paper.pictures.max_pixels) == (200_704, 1_003_520)


def test_the_paper_profiles_questioner_has_two_worked_examples() -> None:
    template = load_config("paper").prompts.questioner
    _, *examples = prompt(template).user.split("<think>")
    kinds = [parse("<think>" + example.split("</answer>")[0] + "</answer>") for example in examples]
    assert [isinstance(one, ParsedQuestion) and one.kind for one in kinds] == ["numeric_value", "short_answer"]


def test_the_paper_profile_has_none_of_our_safeguards() -> None:
    paper = load_config("paper")
    leakage = paper.filter.leakage
    assert (leakage.asked_before, leakage.given_away, leakage.blind_answers) == (False, False, 0)
    assert paper.filter.gold is None and paper.filter.max_share == 1 and not paper.rewards.history_penalty
    assert paper.probe.smoothing == 1
    ruin = Gain(before=99.0, after=0.0, low=-99.0, high=-99.0)
    assert apply_rule(ruin, ruin, paper.promote)[0], "every Solver is promoted"


def test_the_paper_profile_with_safeguards_differs_in_them_alone() -> None:
    paper, safe = (load_config(name).model_dump() for name in ("paper", "paper+safe"))
    assert {name for name in paper if paper[name] != safe[name]} == {"rewards", "probe", "filter", "promote"}
    with_safeguards = load_config("paper+safe")
    assert with_safeguards.filter.leakage == LeakageConfig() and with_safeguards.filter.gold is not None
    assert with_safeguards.promote == load_config("qwen2.5-vl-7b").promote
    assert (with_safeguards.rewards.preset, with_safeguards.rewards.history_penalty) == ("safe", True)
    assert with_safeguards.filter.gold.source not in with_safeguards.evaluate.benchmarks


def test_only_preset_window_makes_the_window_an_input() -> None:
    def inputs(*overrides: str) -> str:
        config = load_config("tiny", overrides)
        return digest([config.rewards_by_preset, config.probe_by_preset])

    assert inputs() == inputs("filter.low=0.5", "filter.high=0.8")
    default = load_config("tiny")
    assert inputs() == digest([default.rewards, default.probe])
    by_window = "rewards.preset=window"
    assert len({inputs(by_window), inputs(by_window, "filter.low=0.5"), inputs(by_window, "filter.high=0.8")}) == 3


def test_replies_are_as_long_in_training_as_elsewhere() -> None:
    for name in PROFILES:
        config = load_config(name)
        for role in ("searcher", "questioner", "solver"):
            in_training, elsewhere = getattr(config.train, role), getattr(config.prompts, role)
            assert in_training.max_tokens == elsewhere.max_tokens, f"{name}, {role}"


def test_trainer_defaults_are_below_each_roles_own_settings() -> None:
    train = load_config("tiny", ["train.defaults.lora=null", "train.defaults.steps=9", "train.solver.steps=3"]).train
    assert (train.searcher.lora, train.questioner.lora) == (None, None)
    assert train.solver.lora == load_config("tiny").train.solver.lora  # the file sets it for this role
    assert (train.searcher.steps, train.questioner.steps, train.solver.steps) == (9, 9, 3)


def test_trainer_defaults_are_merged_and_not_kept() -> None:
    default = load_config("tiny")
    assert "defaults" not in default.train.model_dump()
    assert RunConfig.model_validate(default.model_dump()) == default
    own = [f"train.{role}.updates=2" for role in ("searcher", "questioner", "solver")]
    assert load_config("tiny", own) == load_config("tiny", ["train.defaults.updates=2", "train.solver.updates=2"])


def test_a_mistake_in_the_trainer_defaults_names_its_key() -> None:
    assert "did you mean train.defaults.learning_rate?" in mistake("train.defaults.lerning_rate=1")
    assert "train.defaults.learning_rate: " in mistake("train.defaults.learning_rate=-1")
    mistake("train.defaults=3")
    mistake("train.defaults.kind=other")


def test_overrides_reach_every_depth_and_are_yaml() -> None:
    config = load_config("tiny", ["filter.low=0.5", "train.solver.lora.rank=4", "evaluate.report=[]", "seed=3"])
    assert (config.filter.low, config.train.solver.lora, config.evaluate.report, config.seed) == (
        0.5,
        config.train.solver.lora and config.train.solver.lora.model_copy(update={"rank": 4}),
        (),
        3,
    )


def test_the_last_override_wins() -> None:
    assert load_config("tiny", ["seed=1", "seed=2"]).seed == 2


def test_an_unknown_key_names_its_nearest_neighbour() -> None:
    assert "did you mean train.solver.learning_rate?" in mistake("train.solver.lerning_rate=1")
    assert "unknown key filters; did you mean filter?" in mistake("filters.low=0.3")
    assert "did you mean train.defaults.learning_rate?" in mistake("learning_rate=1")


def test_a_value_out_of_range_names_its_key() -> None:
    assert "filter.low: " in mistake("filter.low=3")
    assert "train.solver.learning_rate: " in mistake("train.solver.learning_rate=-1")


def test_a_closed_window_is_refused() -> None:
    assert "low (0.95) is above high (0.9)" in mistake("filter.low=0.95")


def test_the_gate_cannot_be_reported_as_held_out() -> None:
    assert "world:heldout decides on promotion" in mistake("evaluate.gate=world:heldout")


def test_a_template_with_an_unknown_variable_is_refused() -> None:
    assert "unknown variable picture" in mistake("prompts.solver.user='{{ picture }}'")


@pytest.mark.parametrize(
    "override_", ["seed", "=3", "a..b=1", "seed=[1", "seed.x=1", "domains=[]", "domains=nothing.yaml"]
)
def test_a_malformed_override_is_refused(override_: str) -> None:
    mistake(override_)


def test_domains_may_be_named_by_their_file() -> None:
    assert len(load_config("tiny", ["domains=domains.yaml"]).domains) == 62


def test_a_domain_named_twice_is_refused() -> None:
    assert "repeated: a" in mistake("domains=[{name: a}, {name: a}]")


def test_an_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"tiny\.yaml"):
        load_config("embeded")


def test_a_file_elsewhere_may_extend_a_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {CONFIGS / 'tiny.yaml'}\nseed: 11\nfilter: {{low: 0.45}}\n")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.seed, config.filter.low, config.filter.answers) == (11, 0.45, load_config().filter.answers)


def test_a_config_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match="extends itself"):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["- 1\n", "a: [\n", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError):
        load_config(tmp_path / "a.yaml")


def test_another_kind_replaces_the_whole_mapping_below() -> None:
    below = {"engine": {"kind": "a", "rows": 3}}
    assert merge(below, {"engine": {"kind": "b"}}) == {"engine": {"kind": "b"}}
    assert merge(below, {"engine": {"kind": "a", "x": 1}}) == {"engine": {"kind": "a", "rows": 3, "x": 1}}


def test_merging_changes_neither_side() -> None:
    below = {"a": {"b": 1}}
    override(below, ["a.b=2"])
    assert below == {"a": {"b": 1}}


def test_every_known_key_has_a_dotted_name() -> None:
    known = set(keys(RunConfig))
    assert {"seed", "filter.low", "train.solver.lora.rank", "retrieval.clip.model", "corpus.source.shards"} <= known


def test_a_missing_config_lists_configs_and_no_domain_lists() -> None:
    with pytest.raises(UserError, match=r"paper\.yaml, qwen2") as caught:
        load_config("nosuch")
    assert "domains.yaml" not in str(caught.value)


def test_a_role_of_another_kind_than_the_defaults_is_replaced() -> None:
    below = {"train": {"defaults": {"kind": "a", "steps": 3}, "solver": {"passes": 2}}}
    other, same = ({"train": {"solver": {"kind": kind, "x": 1}}} for kind in ("b", "a"))
    assert merge(below, other)["train"]["solver"] == {"kind": "b", "x": 1}
    assert merge(below, same)["train"]["solver"] == {"kind": "a", "passes": 2, "x": 1}


def test_a_setting_of_another_kind_is_called_that() -> None:
    with pytest.raises(UserError, match=r"engine\.gpu_memory_utilization is a setting of another kind"):
        load_config(overrides=["engine.gpu_memory_utilization=0.5"])
