"""Pictures read to disk are the originals, in the order that was asked for, each read once and not kept in memory."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.corpora import spool
from tasks.corpora.sample import Location
from tasks.corpora.spool import read_to_disk
from tasks.records.picture import Picture


def location(number: int, size: int = 40) -> Location:
    return Location(f"s/{number}", f"s{number % 3}", f"{number}.jpg", 1000 * number, size, 0, 1)


class Reader:
    def __init__(self) -> None:
        self.parts: list[list[str]] = []

    def __call__(self, wanted: Sequence[Location]) -> list[Picture]:
        self.parts.append([each.key for each in wanted])
        return [Picture(each.key, bytes([each.offset // 1000]) * each.size, 6) for each in wanted]


def test_pictures_come_in_the_order_asked_for_each_read_once() -> None:
    reader, wanted = Reader(), [location(number) for number in (4, 0, 7, 4, 3, 1)]
    pictures = read_to_disk(reader, wanted)
    assert [picture.key for picture in pictures] == [each.key for each in wanted]
    assert [picture.data for picture in pictures] == [bytes([n]) * 40 for n in (4, 0, 7, 4, 3, 1)]
    assert {picture.orientation for picture in pictures} == {6}
    assert reader.parts == [["s/0", "s/3", "s/1", "s/4", "s/7"]]  # shard after shard, in the order of their bytes


def test_no_more_bytes_are_read_at_once_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "READ_BYTES", 100)
    reader = Reader()
    read_to_disk(reader, [location(0), location(3), location(6), location(9, size=900), location(12)])
    assert reader.parts == [["s/0", "s/3"], ["s/6"], ["s/9"], ["s/12"]]


def test_a_picture_on_disk_is_pickled_with_its_bytes() -> None:
    (picture,) = read_to_disk(Reader(), [location(5)])
    assert not isinstance(picture.stored, bytes)
    copy = pickle.loads(pickle.dumps(picture))
    assert (copy.key, copy.stored, copy.orientation) == ("s/5", bytes([5]) * 40, 6)


def test_the_file_ends_with_its_last_picture() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    pictures = read_to_disk(Reader(), [location(1), location(2)])
    assert open_files() == before + 1
    del pictures[0]
    assert pictures[0].data and open_files() == before + 1
    pictures.clear()
    assert open_files() == before


def test_no_pictures_are_no_pictures() -> None:
    assert read_to_disk(Reader(), []) == []
