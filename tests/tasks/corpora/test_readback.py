"""Which ranges are requested for pictures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.corpora.readback import LONGEST, NARROW, merged
from tasks.corpora.sample import Location
from tasks.corpora.tar import BLOCK

PATHS = {"0": "in/0.tar", "1": "in/1.tar"}


def at(offset: int, size: int = 50_000, shard: str = "0") -> Location:
    return Location(f"{shard}/{offset}", shard, "x", offset, size, 0, 1)


def test_neighbours_come_in_one_request_and_pictures_far_apart_do_not() -> None:
    near = at(BLOCK), at(BLOCK + 50_000 + NARROW + BLOCK)
    assert len(merged(PATHS, near)) == 1
    assert len(merged(PATHS, [*near, at(10_000_000)])) == 2
    assert len(merged(PATHS, [at(BLOCK), at(BLOCK, shard="1")])) == 2


def test_the_narrowest_gaps_are_bridged_first() -> None:
    wanted = [at(BLOCK), at(65_000), at(200_000), at(256_000)]
    spans = merged(PATHS, wanted, waste=0.06)
    assert [span.numbers for span in spans] == [(0,), (1,), (2, 3)]


def test_a_request_is_never_too_long() -> None:
    wanted = [at(BLOCK + number * 1_001_024, 1_000_000) for number in range(40)]
    spans = merged(PATHS, wanted)
    assert 1 < len(spans) < 10
    assert all(span.stop - span.start <= LONGEST for span in spans)


places = st.builds(at, st.integers(1, 4000).map(lambda n: n * 100_352), st.integers(0, 99_000), st.sampled_from("01"))


@given(st.lists(places, max_size=60), st.floats(0, 1))
def test_every_picture_is_in_one_range_with_its_header_and_few_bytes_are_wasted(
    wanted: list[Location], waste: float
) -> None:
    spans = merged(PATHS, wanted, waste)
    assert sorted(number for span in spans for number in span.numbers) == list(range(len(wanted)))
    for span in spans:
        for one in (wanted[number] for number in span.numbers):
            assert span.path == PATHS[one.shard]
            assert span.start <= one.offset - BLOCK <= one.offset + one.size <= span.stop
    read = sum(span.stop - span.start for span in spans)
    size = sum(one.size for one in wanted)
    assert read <= size + waste * size + len(wanted) * (BLOCK + NARROW)


def test_ranges_are_asked_for_in_the_order_of_the_files() -> None:
    wanted = [at(900_352), at(100_352), at(500_352, shard="1"), at(500_352)]
    spans = merged(PATHS, wanted)
    assert all((one.path, one.start) < (other.path, other.start) for one, other in pairwise(spans))
