"""Reading back: which byte ranges are requested for pictures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.corpora.readback import MAX_REQUEST, NARROW_GAP, merged_ranges
from tasks.corpora.sample import Location
from tasks.corpora.tar import BLOCK

PATHS = {"0": "in/0.tar", "1": "in/1.tar"}


def at(offset: int, size: int = 50_000, shard: str = "0") -> Location:
    return Location(f"{shard}/{offset}", shard, "x", offset, size, 0, 1)


def test_only_neighbouring_pictures_share_a_request() -> None:
    near = at(BLOCK), at(BLOCK + 50_000 + NARROW_GAP + BLOCK)
    assert len(merged_ranges(PATHS, near)) == 1
    assert len(merged_ranges(PATHS, [*near, at(10_000_000)])) == 2
    assert len(merged_ranges(PATHS, [at(BLOCK), at(BLOCK, shard="1")])) == 2


def test_the_narrowest_gaps_are_bridged_first() -> None:
    wanted = [at(BLOCK), at(65_000), at(200_000), at(256_000)]
    ranges = merged_ranges(PATHS, wanted, max_waste=0.06)
    assert [fetched.numbers for fetched in ranges] == [(0,), (1,), (2, 3)]


def test_no_request_is_longer_than_the_limit() -> None:
    wanted = [at(BLOCK + number * 1_001_024, 1_000_000) for number in range(40)]
    ranges = merged_ranges(PATHS, wanted)
    assert 1 < len(ranges) < 10
    assert all(fetched.stop - fetched.start <= MAX_REQUEST for fetched in ranges)


places = st.builds(at, st.integers(1, 4000).map(lambda n: n * 100_352), st.integers(0, 99_000), st.sampled_from("01"))


@given(st.lists(places, max_size=60), st.floats(0, 1))
def test_each_picture_is_in_one_range_and_few_bytes_are_wasted(wanted: list[Location], waste: float) -> None:
    ranges = merged_ranges(PATHS, wanted, waste)
    assert sorted(number for fetched in ranges for number in fetched.numbers) == list(range(len(wanted)))
    for fetched in ranges:
        for location in (wanted[number] for number in fetched.numbers):
            assert fetched.path == PATHS[location.shard]
            assert fetched.start <= location.offset - BLOCK <= location.offset + location.size <= fetched.stop
    read = sum(fetched.stop - fetched.start for fetched in ranges)
    size = sum(location.size for location in wanted)
    assert read <= size + waste * size + len(wanted) * (BLOCK + NARROW_GAP)


def test_ranges_are_requested_in_the_order_of_the_files() -> None:
    wanted = [at(900_352), at(100_352), at(500_352, shard="1"), at(500_352)]
    ranges = merged_ranges(PATHS, wanted)
    assert all((before.path, before.start) < (after.path, after.start) for before, after in pairwise(ranges))
