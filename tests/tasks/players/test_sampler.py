"""Sampling of a team's roles, with the scripted engine."""

from __future__ import annotations

import pytest

from tasks.config import Draw, EarlyStopping, load_config
from tasks.engines import Scripted
from tasks.engines.scripted import Rule
from tasks.players.sampler import AskedQuestion, agreements_of
from tasks.players.team import Team
from tasks.records import Reject
from tasks.records.picture import Picture
from tasks.roles.questioner import ParsedQuestion
from tasks.roles.searcher import Domain

RULES = (
    Rule(prompt="^\\s*search", texts=("<type>t</type><query>a</query>",)),
    Rule(prompt="sure", texts=("\\boxed{1}",)),
    Rule(prompt="even", texts=("\\boxed{1}", "\\boxed{2}", "no answer")),
)
PICTURE = Picture("00000/1", b"")
EVEN, SURE = (AskedQuestion(PICTURE, text, "numeric_value") for text in ("even ?", "sure ?"))


@pytest.fixture
def team() -> Team:
    return Team(model="nobody/nothing", engine=Scripted(rules=RULES), prompts=load_config("tiny").prompts)


def test_other_seeds_sample_other_answers(team: Team) -> None:
    answers = []
    for seed in (1, 2, 1):
        with team.open(seed) as sampler:
            answers.append(sampler.answer([EVEN], 32, Draw())[0])
    assert answers[0] == answers[2] != answers[1]


def test_early_stopping_samples_the_first_of_all_answers(team: Team) -> None:
    with team.open(seed=0) as sampler:
        full = sampler.answer([EVEN, SURE], 9, Draw())
        early = sampler.answer_until(
            [EVEN, SURE], 9, Draw(), EarlyStopping(first=4, more=2), lambda answers: "2" in answers
        )
        unstopped = sampler.answer_until([EVEN, SURE], 9, Draw(), None, lambda _: True)
    assert unstopped == full
    assert early[1] == full[1]
    assert early[0] == full[0][: len(early[0])]
    assert len(early[0]) < 9


def test_queries_come_by_domain_as_many_as_wanted(team: Team) -> None:
    domains = [Domain(name=name) for name in ("maps", "clocks", "dials")]
    with team.open(seed=0) as sampler:
        assert [len(texts) for texts in sampler.write_queries(domains, [2, 0, 3], Draw())] == [2, 0, 3]


def test_a_rejected_question_has_no_agreement() -> None:
    question = ParsedQuestion("how many ?", "numeric_value", "", "")
    agreements = agreements_of(
        [PICTURE, PICTURE], [Reject(reason="no question"), question], lambda _: [("3", "3", "4")]
    )
    assert agreements == [None, pytest.approx(2 / 3)]
