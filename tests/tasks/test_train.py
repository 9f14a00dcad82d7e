"""Rewards of each role, measured by a frozen team with the scripted engine on a real, tiny corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tasks.config import PromptTemplates, RewardConfig, WindowRewards, load_config
from tasks.corpora import WorldCorpus
from tasks.corpus import build_corpus, corpus_place, open_corpus
from tasks.engines import Scripted
from tasks.engines.open_engines import Engines
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.protocol import Engine
from tasks.engines.request import Completion, Request
from tasks.engines.scripted import Rule
from tasks.grading import vote
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.players.weights import weights_of
from tasks.records import DomainDifficulty, LabelledQuestion
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.retrieval import RetrievalConfig, SearchableCorpus
from tasks.retrieval.clip import Clip
from tasks.roles.questioner import ParsedQuestion
from tasks.roles.searcher import Domain
from tasks.train import (
    QuestionerReward,
    SearcherReward,
    SolverReward,
    searcher_examples,
    solver_examples,
    validity_of,
)
from tasks.trainers.example import Example, Rollout
from tests.fixtures.tiny_clip import write_tiny_clip

CONFIG = RewardConfig(preset="safe", answers=6, top_k=3)
QUESTION = "<think>t</think><type>numeric_value</type><question>{} ?</question><answer>1</answer>"
QUERY = "<type>chart</type><query>{}</query>"
SCRIPT = Scripted(
    rules=(
        Rule(prompt="^\\s*ask$", texts=(QUESTION.format("even"),)),
        Rule(prompt="sure", texts=("\\boxed{1}",)),
        Rule(prompt="even", texts=("\\boxed{1}", "\\boxed{2}")),
    )
)


class Recording(Engine):
    """The scripted engine; it records its requests."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.requests = engine, list[Request]()

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        self.requests += requests
        return self.engine.generate(requests, on_done)

    def close(self) -> None:
        self.engine.close()


@pytest.fixture
def prompts() -> PromptTemplates:
    return load_config("tiny").prompts


@pytest.fixture
def team(prompts: PromptTemplates) -> Team:
    return Team(model="nobody/nothing", engine=SCRIPT, prompts=prompts)


@pytest.fixture
def engine() -> Recording:
    return Recording(SCRIPT.open("", OWN_LIMITS))


class OneEngine(Engines):
    """The same engine for every model."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def for_model(self, model: str) -> Engine:
        return self.engine


@pytest.fixture
def sampler(team: Team, engine: Recording) -> Sampler:
    return Sampler(team.prompts, lambda role: weights_of(team.model, getattr(team, role)), OneEngine(engine), seed=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SearchableCorpus:
    folder = tmp_path_factory.mktemp("corpus")
    place = corpus_place(str(folder / "corpora" / "world"))
    settings = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(folder / 'clip')}"))
    build_corpus(place, WorldCorpus(pictures=12, per_shard=12), settings)
    return open_corpus(place, settings)


def picture(number: int) -> Picture:
    return Picture(f"00000/{number}", b"")


def question(number: int, text: str) -> Rollout:
    """A Questioner's rollout about a picture."""
    return Rollout(Example(f"00000/{number}", Prompt("ask"), picture(number)), text)


def query(number: int, text: str) -> Rollout:
    """A Searcher's rollout in the domain of maps."""
    return Rollout(Example(f"maps#{number}", Prompt("search : maps"), None), text)


def test_a_question_at_the_frontier_is_rewarded_most(sampler: Sampler) -> None:
    texts = [QUESTION.format("even"), QUESTION.format("sure"), "no tags"]
    even, sure, broken = QuestionerReward(sampler, CONFIG)(
        [question(number, text) for number, text in enumerate(texts)]
    )
    assert even.total > sure.total
    assert even.terms["difficulty"] > sure.terms["difficulty"] == broken.terms["difficulty"] == 0
    assert (even.terms["format"], broken.terms["format"], broken.total) == (1, 0, 0)


def test_equal_questions_are_answered_once_and_rewarded_alike(sampler: Sampler, engine: Recording) -> None:
    rollouts = [question(1, QUESTION.format("even"))] * 4 + [question(2, QUESTION.format("even"))]
    rewards = QuestionerReward(sampler, CONFIG)(rollouts)
    assert len(engine.requests) == 2
    assert len({reward.terms["difficulty"] for reward in rewards[:4]}) == 1


def test_rewards_do_not_depend_on_the_order_of_rollouts(sampler: Sampler) -> None:
    rollouts = [question(number, QUESTION.format("even")) for number in range(8)]
    reward_of = QuestionerReward(sampler, CONFIG)
    assert reward_of(rollouts) == reward_of(rollouts[::-1])[::-1]


def test_repeated_questions_are_penalized_by_their_share(sampler: Sampler) -> None:
    long = QUESTION.format("even when all the bars of the chart are added up")
    other = QUESTION.format("even if nobody counts the small blue squares")
    first, second, third = QuestionerReward(sampler, CONFIG)([question(1, long), question(2, long), question(3, other)])
    assert first.terms["text repetition"] == second.terms["text repetition"] == pytest.approx(2 / 3)
    assert third.terms["text repetition"] == pytest.approx(1 / 3)


def test_the_history_penalty_lowers_rewards_of_known_questions(sampler: Sampler) -> None:
    text = "even when all the bars of the chart are added up"
    rollouts = [
        question(1, QUESTION.format(text)),
        question(2, QUESTION.format("even if nobody counts the small squares")),
    ]
    config = CONFIG.model_copy(update={"history_penalty": True})
    old, new = QuestionerReward(sampler, config, trained_on=[f"{text} ?"])(rollouts)
    assert (old.terms["history penalty"], new.terms["history penalty"]) == (1, 0)
    assert new.total - old.total == pytest.approx(1)
    unpenalized = QuestionerReward(sampler, CONFIG, trained_on=[f"{text} ?"])(rollouts)
    assert unpenalized[0].total == unpenalized[1].total


def test_preset_window_pays_by_agreement_and_own_answer(sampler: Sampler) -> None:
    config = WindowRewards(preset="window", answers=6, low=0.4, high=1.0)
    own = "<think>t</think><type>numeric_value</type><question>{} ?</question><answer>{}</answer>"
    texts = [own.format("sure", "1"), own.format("sure", "2"), "no tags"]
    rewards = QuestionerReward(sampler, config)([question(number, text) for number, text in enumerate(texts)])
    terms = [(reward.terms["difficulty"], reward.terms["validity"]) for reward in rewards]
    assert terms == [(1, 1), (1, 0.5), (0, 0)]
    assert [reward.total for reward in rewards] == pytest.approx([0.9 + 0.1 + 2 / 3, 0.45 + 0.1 + 2 / 3, 0])


def test_validity_compares_the_own_answer_with_the_majority() -> None:
    def validity(answers: list[str | None], own: str) -> float:
        return validity_of(vote(answers), ParsedQuestion("how many ?", "numeric_value", own, ""))

    assert [validity(["1", "1", "2"], own) for own in ("1.0", "2", "")] == [1, 0.5, 0.5]
    assert [validity(answers, "1") for answers in (["1", "2"], [None, None])] == [0, 0]  # no majority


def test_preset_window_pays_a_query_by_the_own_answer_too(sampler: Sampler, corpus: SearchableCorpus) -> None:
    config = WindowRewards(preset="window", answers=6, low=0.4, high=0.6)
    (reward,) = SearcherReward(sampler, corpus, config)([query(0, QUERY.format("a map"))])
    assert set(reward.terms) == {"difficulty", "validity", "format", "text repetition", "image repetition"}


def test_a_query_is_rewarded_by_the_question_about_its_picture(
    sampler: Sampler, corpus: SearchableCorpus, engine: Recording
) -> None:
    rewards = SearcherReward(sampler, corpus, CONFIG)([query(0, QUERY.format("a map")), query(1, "nothing")])
    requests = [request for request in engine.requests if request.prompt.user == "ask"]
    assert len(requests) == 1
    assert requests[0].picture
    assert requests[0].picture.key in {hit.key for hit in corpus.search(["a map"], 3)[0]}
    assert rewards[0].terms["difficulty"] > 0
    assert rewards[1].total == 0
    assert set(rewards[0].terms) == {"difficulty", "format", "text repetition", "image repetition"}


def test_only_the_query_counts_as_repeated_not_its_tags(sampler: Sampler, corpus: SearchableCorpus) -> None:
    reply = "<type>a chart with many small coloured bars in it</type><query>{}</query>"
    texts = ["red circles beside a blue box", "the hands of an old clock"]
    alike, other = SearcherReward(sampler, corpus, CONFIG)(
        [query(i, reply.format(text)) for i, text in enumerate(texts)]
    )
    assert alike.terms["text repetition"] == other.terms["text repetition"] == pytest.approx(1 / 2)


def test_a_rejected_reply_repeats_no_query(sampler: Sampler, corpus: SearchableCorpus) -> None:
    rollouts = [query(number, "there is no query that I could think of") for number in range(2)]
    rewards = SearcherReward(sampler, corpus, CONFIG)(rollouts)
    assert [reward.terms["text repetition"] for reward in rewards] == pytest.approx([1 / 2, 1 / 2])


def test_a_batch_of_rejected_queries_is_no_error(sampler: Sampler, corpus: SearchableCorpus) -> None:
    assert [reward.total for reward in SearcherReward(sampler, corpus, CONFIG)([query(0, "x"), query(1, "y")])] == [
        0,
        0,
    ]


def test_rollouts_with_one_query_get_different_pictures(
    sampler: Sampler, corpus: SearchableCorpus, engine: Recording
) -> None:
    SearcherReward(sampler, corpus, CONFIG)([query(0, QUERY.format("a map"))] * 12)
    assert len({request.picture for request in engine.requests if request.prompt.user == "ask"}) > 1


def test_the_solver_is_rewarded_for_the_label_in_any_form() -> None:
    reward_of = SolverReward({"q": "1/2"}, CONFIG, seed=0)
    rollouts = [Rollout(Example("q", Prompt("?"), None), text) for text in (r"\boxed{0.5}", r"\boxed{2}", "0.5")]
    assert [reward.total for reward in reward_of(rollouts)] == pytest.approx([1.0, 0.1, 0.0])


def test_random_rewards_do_not_depend_on_the_label() -> None:
    reward_of = SolverReward({"q": "1"}, CONFIG.model_copy(update={"solver": "random"}), seed=0)
    rollouts = [Rollout(Example("q", Prompt("?"), None), rf"\boxed{{{number % 2}}}") for number in range(400)]
    totals = np.array([reward.terms["accuracy"] for reward in reward_of(rollouts)])
    assert totals[::2].mean() == pytest.approx(0.5, abs=0.1)
    assert totals[1::2].mean() == pytest.approx(0.5, abs=0.1)


def test_labels_and_rewards_use_the_same_prompt(
    sampler: Sampler, team: Team, corpus: SearchableCorpus, engine: Recording
) -> None:
    key = corpus.search(["a map"], 1)[0][0].key
    labelled = LabelledQuestion(
        id=f"{key}#0", key=key, domain="maps", kind="numeric_value", text="even ?", answers=("1",), label="1",
        agreement=0.5, reason=None,
    )  # fmt: skip
    (example,) = solver_examples(team, [labelled], corpus)
    sampler.answer([AskedQuestion(corpus.pictures([key])[0], labelled.text, labelled.kind)], 2, CONFIG.answer_draw)
    assert engine.requests[0].prompt == example.prompt
    assert engine.requests[0].picture == example.picture


def test_domains_are_trained_on_in_proportion_to_their_weights(team: Team) -> None:
    rows = [
        DomainDifficulty(domain=name, questions=1, agreement=0.5, difficulty=1, low=0, high=1, weight=weight)
        for name, weight in (("maps", 0.75), ("clocks", 0.25))
    ]
    examples = searcher_examples(team, [Domain(name="maps"), Domain(name="clocks")], rows, 16, seed=0)
    prompts = [example.prompt.user for example in examples]
    assert (prompts.count("search : maps"), prompts.count("search : clocks")) == (12, 4)
    assert len({example.id for example in examples}) == 16
    assert prompts[:12] != ["search : maps"] * 12
