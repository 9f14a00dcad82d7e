"""Tar shards: complete, damaged and hostile."""

from __future__ import annotations

import socket
import tracemalloc
from pathlib import Path

import fsspec
import pytest
import webdataset

from tasks.corpora import LaionCorpus
from tasks.corpora.decode import Limits
from tasks.corpora.sample import Sample, Shard, StaleShard
from tasks.corpora.table import SampleTable
from tasks.records import to_table
from tasks.settings.errors import UserError
from tests.fixtures.shards import bomb, ordinary_shards, picture, sample, tar_bytes, write_parquet, write_shard

REPEATED = "duplicate key: an earlier picture has it"
LEADS_OUT = "bad name: it leads out of the shard"

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def rows(corpus: LaionCorpus, shard: str = "00000") -> list[Sample]:
    with corpus.shard(shard) as reader:
        return [decoded.sample for decoded in reader.read()]


def by_key(corpus: LaionCorpus, shard: str = "00000") -> dict[str, Sample]:
    return {row.key: row for row in rows(corpus, shard)}


def pictures(corpus: LaionCorpus, wanted: list[Sample]) -> list[bytes]:
    """The bytes of rows, found by key like in a built corpus."""
    table = to_table(Sample, sorted(wanted, key=lambda row: row.shard))
    return [picture.data for picture in corpus.pictures(SampleTable(table).locate([row.key for row in wanted]))]


def kept(corpus: LaionCorpus, shard: str = "00000") -> list[Sample]:
    return [row for row in rows(corpus, shard) if row.reason is None]


def described(corpus: LaionCorpus) -> list[Shard]:
    shards = []
    for listed in corpus.listing():
        with corpus.shard(listed.name) as reader:
            shards.append(reader.describe())
    return shards


def test_a_row_has_key_member_size_and_caption_from_the_tar(tmp_path: Path) -> None:
    corpus = LaionCorpus(shards=str(ordinary_shards(tmp_path, shards=2, pictures=3)))
    assert [shard.name for shard in corpus.listing()] == ["00000", "00001"]
    first = rows(corpus)[0]
    assert (first.key, first.member, first.width, first.height) == ("00000/000000000", "000000000.png", 112, 112)
    assert (first.caption, first.size, first.reason) == ("scene 000000000", len(picture(0)), None)


def test_pictures_are_read_back_byte_identical_in_order(tmp_path: Path) -> None:
    corpus = LaionCorpus(shards=str(ordinary_shards(tmp_path, shards=2, pictures=5)))
    wanted = [*reversed(kept(corpus, "00001")), *kept(corpus)]
    assert pictures(corpus, wanted) == [picture(seed) for seed in (9, 8, 7, 6, 5, 0, 1, 2, 3, 4)]


def test_shards_written_by_webdataset_have_its_keys(tmp_path: Path) -> None:
    tar = str(tmp_path / "00000.tar")
    with webdataset.TarWriter(tar) as writer:
        for number in range(3):
            writer.write({"__key__": f"folder/{number}.5", "png": picture(number), "txt": f"scene {number}"})
    keys = [str(sample["__key__"]) for sample in webdataset.WebDataset(tar, shardshuffle=False)]
    corpus = LaionCorpus(shards=str(tmp_path))
    assert [row.key for row in kept(corpus)] == [f"00000/{key}" for key in dict.fromkeys(keys)]
    assert [row.caption for row in kept(corpus)] == ["scene 0", "scene 1", "scene 2"]
    assert pictures(corpus, kept(corpus)) == [picture(0), picture(1), picture(2)]


def test_memory_and_file_urls_give_the_same_rows(tmp_path: Path) -> None:
    ordinary_shards(tmp_path, shards=1, pictures=3)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/laion/00000.tar", (tmp_path / "00000.tar").read_bytes())
    here, there = LaionCorpus(shards=tmp_path.as_uri()), LaionCorpus(shards="memory://laion")
    assert rows(here) == rows(there)
    assert described(here) == described(there)
    assert pictures(there, kept(there))[2] == picture(2)


def test_metadata_is_joined_on_the_key_in_any_order_and_case(tmp_path: Path) -> None:
    write_shard(tmp_path, "00000", [*sample("a", 1), *sample("b", 2)])
    columns = {
        "KEY": ["gone", "b", "a"],
        "URL": ["http://g", "http://b", "http://a"],
        "TEXT": ["not there", "second", "first"],
        "status": ["failed_to_download", "success", "success"],
        "error_message": ["404", None, None],
    }
    write_parquet(tmp_path, "00000", columns)
    by_sample = by_key(LaionCorpus(shards=str(tmp_path)))
    assert (by_sample["00000/a"].caption, by_sample["00000/a"].url) == ("first", "http://a")
    assert (by_sample["00000/b"].caption, by_sample["00000/b"].url) == ("second", "http://b")
    assert by_sample["00000/gone"].reason == "failed: 404"
    assert by_sample["00000/gone"].member is None


def test_missing_stats_and_missing_parquet_do_not_matter(tmp_path: Path) -> None:
    write_shard(tmp_path, "00000", sample("a", 1, "größer als zwölf ☃"), stats=False)
    (row,) = rows(LaionCorpus(shards=str(tmp_path)))
    assert (row.reason, row.caption) == (None, "größer als zwölf ☃")


def test_a_damaged_parquet_is_reported_and_pictures_are_kept(tmp_path: Path) -> None:
    write_shard(tmp_path, "00000", sample("a", 1, "one"))
    (tmp_path / "00000.parquet").write_bytes(b"PAR1 nothing of the kind")
    by_sample = by_key(LaionCorpus(shards=str(tmp_path)))
    assert (by_sample["00000/"].reason or "").startswith("damaged metadata: ")
    assert by_sample["00000/a"].reason is None


@pytest.mark.parametrize("cut", [100, 600, 40_000, 3 * 38_400])
def test_a_truncated_tar_is_reported_and_keeps_what_came_before(tmp_path: Path, cut: int) -> None:
    tar = write_shard(tmp_path, "00000", [(f"{number:03d}.bmp", picture(number, form="BMP")) for number in range(3)])
    tar.write_bytes(tar.read_bytes()[:cut])
    *good, last = rows(LaionCorpus(shards=str(tmp_path)))
    assert last.key == "00000/"
    assert (last.reason or "").startswith("damaged shard: truncated")
    assert len(good) == cut // 38_400
    assert all(row.reason is None for row in good)


def test_a_damaged_header_in_the_middle_is_reported(tmp_path: Path) -> None:
    tar = write_shard(tmp_path, "00000", [("a.bmp", picture(1, form="BMP")), ("b.bmp", picture(2, form="BMP"))])
    data = bytearray(tar.read_bytes())
    place = data.index(b"b.bmp")
    data[place : place + 200] = bytes(range(200))
    tar.write_bytes(data)
    good, last = rows(LaionCorpus(shards=str(tmp_path)))
    assert good.reason is None
    assert (last.reason or "").startswith("damaged shard: damaged at byte")


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\x1f\x8b" + bytes(2000)])
def test_a_file_that_is_no_tar_is_reported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "00000.tar").write_bytes(data)
    (row,) = rows(LaionCorpus(shards=str(tmp_path)))
    assert (row.reason or "").startswith("damaged shard: ")


def test_every_bad_picture_is_a_row_with_its_reason(tmp_path: Path) -> None:
    members = [
        ("half.jpg", picture(1, form="JPEG")[:900]),
        ("empty.jpg", b""),
        ("text.png", b"this is not a picture"),
        ("bomb.png", bomb()),
        ("large.png", picture(3, (300, 300))),
        ("heavy.bmp", picture(4, (120, 120), "BMP")),
        ("words.txt", b"only a caption"),
        ("good.png", picture(5)),
    ]
    write_shard(tmp_path, "00000", members)
    corpus = LaionCorpus(shards=str(tmp_path), limits=Limits(max_pixels=50_000, max_bytes=40_000))
    reasons = {row.key.removeprefix("00000/"): row.reason for row in rows(corpus)}
    assert reasons.pop("good") is None
    kinds = {key: (reason or "").partition(":")[0] for key, reason in reasons.items()}
    broken, large = ("half", "empty", "text", "words"), ("bomb", "large", "heavy")
    assert kinds == dict.fromkeys(broken, "broken") | dict.fromkeys(large, "too large")


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    write_shard(tmp_path, "00000", [("bomb.png", bomb())])
    tracemalloc.start()
    (row,) = rows(LaionCorpus(shards=str(tmp_path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (row.reason or "").startswith("too large: ")
    assert peak < 50e6


def test_of_a_repeated_key_the_first_picture_is_served(tmp_path: Path) -> None:
    members = [("a.png", picture(1)), ("a.jpg", picture(2, form="JPEG")), ("b.png", picture(3)), ("a.png", picture(4))]
    write_shard(tmp_path, "00000", members)
    corpus = LaionCorpus(shards=str(tmp_path))
    assert [row.reason for row in rows(corpus)] == [None, REPEATED, None, REPEATED]
    assert pictures(corpus, kept(corpus)) == [picture(1), picture(3)]


def test_a_name_that_leads_out_is_never_written(tmp_path: Path) -> None:
    shards = tmp_path / "deep" / "shards"
    write_shard(shards, "00000", [("../../x.png", picture(1)), ("/abs.png", picture(2)), ("ok.png", picture(3))])
    before = sorted(tmp_path.rglob("*"))
    assert [row.reason for row in rows(LaionCorpus(shards=str(shards)))] == [LEADS_OUT, LEADS_OUT, None]
    assert sorted(tmp_path.rglob("*")) == before


def test_long_and_unicode_names_are_read_and_read_back(tmp_path: Path) -> None:
    names = ["folder/" + "n" * 150 + ".png", "schöne-ähre-☃.png", "dir/sub/c.PNG"]
    write_shard(tmp_path, "00000", [(name, picture(seed)) for seed, name in enumerate(names)])
    corpus = LaionCorpus(shards=str(tmp_path))
    assert [row.member for row in kept(corpus)] == names
    assert pictures(corpus, kept(corpus)) == [picture(0), picture(1), picture(2)]
    assert kept(corpus)[2].key == "00000/dir/sub/c"


@pytest.mark.parametrize("change", ["shifted", "same size, other bytes", "cut", "gone"])
def test_a_changed_shard_is_refused(tmp_path: Path, change: str) -> None:
    old = [("a.bmp", picture(1, form="BMP")), ("b.bmp", picture(2, form="BMP"))]
    tar = write_shard(tmp_path, "00000", old)
    corpus = LaionCorpus(shards=str(tmp_path))
    wanted = kept(corpus)[1:]
    match change:
        case "shifted":
            tar.write_bytes(tar_bytes([("new.txt", b"!"), *old]))
        case "same size, other bytes":
            tar.write_bytes(tar_bytes([old[0], ("b.bmp", picture(7, form="BMP"))]))
        case "cut":
            tar.write_bytes(tar.read_bytes()[:50_000])
        case _:
            tar.unlink()
    with pytest.raises(StaleShard, match="build the corpus again"):
        pictures(corpus, wanted)


def test_a_changed_shard_has_another_version(tmp_path: Path) -> None:
    ordinary_shards(tmp_path, shards=1, pictures=2)
    corpus = LaionCorpus(shards=str(tmp_path))
    listing, before = corpus.listing(), described(corpus)
    write_parquet(tmp_path, "00000", {"key": ["000000000"], "caption": ["another caption"]})
    assert corpus.listing() != listing
    assert described(corpus) != before


def test_the_error_without_shards_says_what_the_address_holds(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    for url, why in (
        (str(tmp_path / "missing"), "there is no folder"),
        ("memory://nothing/here", "there is no folder"),
        (str(tmp_path / "empty"), "is empty"),
        (str(tmp_path), r"neither \.tar shards.* nor pictures \(bmp, "),
        (f"{tmp_path}/a*.tar", r"no \.tar file matches"),
    ):
        with pytest.raises(UserError, match=why):
            LaionCorpus(shards=url).listing()


def test_shards_with_clashing_keys_are_refused(tmp_path: Path) -> None:
    for folder in ("left", "right"):
        write_shard(tmp_path / folder, "00000", sample("a", 1))
    with pytest.raises(UserError, match="the same name"):
        LaionCorpus(shards=f"{tmp_path}/*/*.tar").listing()


def test_a_glob_picks_shards_and_reads_them_back(tmp_path: Path) -> None:
    corpus = LaionCorpus(shards=f"{ordinary_shards(tmp_path, shards=3, pictures=2)}/0000[12].tar")
    assert [shard.name for shard in corpus.listing()] == ["00001", "00002"]
    assert pictures(corpus, kept(corpus, "00002"))[0] == picture(4)


def test_no_url_in_the_metadata_is_ever_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    write_shard(tmp_path, "00000", sample("a", 1))
    keys, urls = ["a", "b"], ["http://127.0.0.1:9/a.png", "http://127.0.0.1:9/b.png"]
    write_parquet(tmp_path, "00000", {"key": keys, "URL": urls, "status": ["success", "failed_to_download"]})
    corpus = LaionCorpus(shards=str(tmp_path))
    assert [(row.url, row.reason) for row in rows(corpus)] == [(urls[0], None), (urls[1], "failed: failed_to_download")]
    assert pictures(corpus, kept(corpus)) == [picture(1)]
