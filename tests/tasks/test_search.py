"""Queries by domain, their search results, and the pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.records import Reject
from tasks.retrieval.searchable_corpus import Hit
from tasks.search import apportion, pool_of, random_pool, read_query, search_results

BARS = "<type>chart</type><query>bars</query>"


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=61), st.integers(0, 6000))
def test_apportioned_counts_add_up_to_within_one_of_their_share(weights: list[float], total: int) -> None:
    counts = apportion(weights, total)
    assert sum(counts) == total
    assert all(
        abs(count - weight / sum(weights) * total) < 1 + 1e-6 for count, weight in zip(counts, weights, strict=True)
    )


def test_a_picture_is_kept_for_the_query_with_the_highest_score() -> None:
    queries = [read_query("a", BARS), read_query("b", BARS)]
    rows = search_results(queries, [[Hit("0/1", 0.5), Hit("0/2", 0.4)], [Hit("0/1", 0.6)]])
    assert [(row.domain, row.key, row.rank) for row in pool_of(rows)] == [("a", "0/2", 2), ("b", "0/1", 1)]
    assert [(row.domain, row.reason) for row in rows if row.reason] == [("a", "duplicate")]


def test_of_equal_scores_the_first_is_kept() -> None:
    rows = search_results([read_query("a", BARS), read_query("b", BARS)], [[Hit("0/1", 0.5)], [Hit("0/1", 0.5)]])
    assert [row.reason for row in rows] == [None, "duplicate"]


def test_a_rejected_query_stays_with_its_text_and_reason() -> None:
    queries = [read_query("a", "no tags here")]
    assert queries[0].query == Reject(reason="no query")
    (row,) = search_results(queries, [[]])
    assert (row.key, row.query, row.reason) == (None, "no tags here", "no query")


def test_the_passive_pool_is_as_large_and_has_no_picture_twice() -> None:
    rows = search_results([read_query("a", BARS), read_query("b", "x")], [[Hit("0/1", 0.5), Hit("0/2", 0.4)], []])
    drawn = random_pool(rows, [f"1/{number}" for number in range(9)], seed=0)
    assert [row.domain for row in drawn] == [row.domain for row in rows]
    assert len({row.key for row in pool_of(drawn)}) == 2
    assert all(row.key and row.key.startswith("1/") for row in pool_of(drawn))
    assert drawn[2] == rows[2]


@pytest.mark.parametrize("hits", [[], [Hit("0/0", 0.1)]])
def test_picture_zero_counts_like_any_other(hits: list[Hit]) -> None:
    assert len(pool_of(search_results([read_query("a", BARS)], [hits]))) == len(hits)
