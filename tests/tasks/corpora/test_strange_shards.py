"""Shards as people really have them, after public bug reports: what each gives, and what is named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.corpora import FolderCorpus, LaionCorpus
from tasks.corpora.decode import Limits
from tasks.corpora.detect import detect_source
from tasks.corpora.masks import Masks
from tasks.corpora.sample import Sample
from tasks.corpus import build_corpus, open_corpus, sources
from tasks.records import to_table
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.retrieval.index import IVF, Scan
from tasks.settings.errors import UserError
from tasks.store import Place, Store
from tests.fixtures.shards import picture, tar_bytes
from tests.fixtures.tiny_clip import write_tiny_clip

NAMES = [f"{number:09d}" for number in range(4)]
UNSAFE = [0.9, 0.1, 0.1, 0.1]
Members = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RetrievalConfig:
    return RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path_factory.mktemp('clip'))}"))


def pictures(names: list[str] = NAMES, folder: str = "") -> Members:
    return [(f"{folder}{name}.png", picture(number)) for number, name in enumerate(names)]


def captions(names: list[str] = NAMES, folder: str = "") -> Members:
    return [(f"{folder}{name}.txt", f"caption {name}".encode()) for name in names]


def write_tar(folder: Path, members: Members, name: str = "00000.tar") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(tar_bytes(members))
    return folder


def write_facts(folder: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")


def read(folder: Path | str, shard: str = "00000") -> list[Sample]:
    with LaionCorpus(shards=str(folder)).shard(shard) as reader:
        return [decoded.sample for decoded in reader.read()]


def by_key(folder: Path, shard: str = "00000") -> dict[str, Sample]:
    return {row.key.removeprefix(f"{shard}/"): row for row in read(folder, shard)}


def place_in(folder: Path) -> Place:
    return Place(Store(str(folder / "store")), "corpora/test")


def served(folder: Path, config: RetrievalConfig, tmp_path: Path) -> set[str]:
    """The keys that a corpus built from the folder finds."""
    place = place_in(tmp_path)
    build_corpus(place, LaionCorpus(shards=str(folder), limits=Limits(max_failures=1)), config)
    (hits,) = open_corpus(place).search(["anything"], 99)
    return {hit.key for hit in hits}


@pytest.mark.parametrize(
    "keys",
    [pa.array([0, 1, 2, 3], pa.int64()), pa.array([name.encode() for name in NAMES], pa.binary()), pa.array(NAMES)],
    ids=["numbers", "bytes", "texts"],
)
@pytest.mark.parametrize("folder_in_tar", ["", "./", "00000/"])
def test_metadata_joins_on_rewritten_keys(
    tmp_path: Path, config: RetrievalConfig, keys: pa.Array, folder_in_tar: str
) -> None:
    folder = write_tar(tmp_path / "in", pictures(folder=folder_in_tar))
    write_facts(folder, {"key": keys, "caption": list("abcd"), "status": ["success"] * 4, "punsafe": UNSAFE})
    rows = read(folder)
    assert [(row.caption, row.punsafe) for row in rows] == list(zip("abcd", UNSAFE, strict=True))
    assert len(served(folder, config, tmp_path)) == 3, "the unsafe picture is masked"


def test_metadata_of_another_shard_is_named_and_nothing_unrated_served(tmp_path: Path, config: RetrievalConfig) -> None:
    folder = write_tar(tmp_path / "in", pictures())
    write_facts(folder, {"key": ["x1", "x2"], "status": ["success"] * 2, "punsafe": [0.1, 0.1]})
    assert "damaged metadata: 0 of 2 rows join a picture" in [row.reason for row in read(folder)]
    with pytest.raises(UserError, match="no usable picture"):
        served(folder, config, tmp_path)
    place = place_in(tmp_path / "unmasked")
    build_corpus(place, LaionCorpus(shards=str(folder), masks=Masks(max_unsafe=None)), config)
    assert len(open_corpus(place)) == 4


def test_a_picture_without_a_row_is_masked_where_others_are_rated(tmp_path: Path, config: RetrievalConfig) -> None:
    folder = write_tar(tmp_path / "in", pictures())
    write_facts(folder, {"key": NAMES[:3], "status": ["success"] * 3, "punsafe": [0.1, 0.2, 0.3]})
    assert served(folder, config, tmp_path) == {f"00000/{name}" for name in NAMES[:3]}


@pytest.mark.parametrize("order", ["pictures first", "captions first"])
def test_members_of_a_sample_need_not_lie_together(tmp_path: Path, order: str) -> None:
    facts = [(f"{name}.json", b'{"punsafe": 0.99}') for name in NAMES]
    parts = [pictures(), captions(), facts] if order == "pictures first" else [captions(), facts, pictures()]
    rows = read(write_tar(tmp_path, [member for part in parts for member in part]))
    assert [(row.caption, row.punsafe, row.reason) for row in rows] == [
        (f"caption {name}", 0.99, None) for name in NAMES
    ]


@pytest.mark.parametrize(
    ("value", "caption"),
    [('"nice dog \\ud83d"', "nice dog �"), ("NaN", None), ('["two", "captions"]', "two"), ('{"en": "dog"}', None),
     ('""', None), ("true", None), ("7", "7"), ("[]", None), ('[null, "b"]', "b"), ("1" * 5000, None)],
)  # fmt: skip
def test_captions_in_json_of_any_type(tmp_path: Path, value: str, caption: str | None) -> None:
    members = [*pictures(["a"]), ("a.json", f'{{"caption": {value}}}'.encode()), *pictures(["b"]), ("b.json", b"{")]
    rows = by_key(write_tar(tmp_path, members))
    assert rows["a"].caption == caption
    assert [row.reason for row in rows.values()] == [None, None]


@pytest.mark.parametrize(
    "data", ["a dog".encode("utf-16"), "\ufeffa dog".encode(), b"a dog\n"], ids=["utf-16", "mark", "plain"]
)
def test_captions_in_any_encoding(tmp_path: Path, data: bytes) -> None:
    assert by_key(write_tar(tmp_path, [*pictures(["a"]), ("a.txt", data)]))["a"].caption == "a dog"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([b"a dog", b"caf\xc3\xa9", None, b"\xff"], pa.binary()), ["a dog", "café", None, "�"]),
        (pa.array([b"a", b"caf\xe9", b"x", b"y"], pa.binary()).view(pa.string()), ["a", "caf�", "x", "y"]),
        (pa.array([float("nan")] * 4), [None] * 4),
        (pa.array([["a", "b"], ["c"], [], None]), ["a", "c", None, None]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
        (pa.array([{"en": "a"}] * 4), [None] * 4),
    ],
    ids=["bytes", "latin-1", "nan", "lists", "dictionary", "mappings"],
)
def test_captions_in_parquet_of_any_type(tmp_path: Path, column: pa.Array, expected: list[str | None]) -> None:
    folder = write_tar(tmp_path, pictures())
    write_facts(folder, {"key": NAMES, "caption": column, "status": ["success"] * 4})
    rows = read(folder)
    assert [row.caption for row in rows] == expected
    assert [row.reason for row in rows] == [None] * 4


def test_one_tar_is_that_tar_and_a_folder_may_have_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "laion[v2]"
    for name in ("1.tar", "10.tar", "11.tar", "1-old.tar"):
        write_tar(folder, pictures([name]), name)
    assert [shard.name for shard in LaionCorpus(shards=str(folder / "1.tar")).listing()] == ["1"]
    assert [shard.name for shard in LaionCorpus(shards=f"{folder}/1?.tar").listing()] == ["10", "11"]
    assert len(LaionCorpus(shards=str(folder)).listing()) == 4


def test_what_is_left_out_is_named(tmp_path: Path, config: RetrievalConfig, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_tar(tmp_path / "in", pictures())
    for name in ("00001.tar.gz", "00002.TAR", "preview.png"):
        (folder / name).write_bytes(b"")
    write_tar(folder / "more", pictures(), "00003.tar")
    build_corpus(place_in(tmp_path), LaionCorpus(shards=str(folder)), config)
    told = [record.message for record in caplog.records if "left out" in record.message]
    assert re.search("3 files that are no .tar shards: 00001.tar.gz, 00002.TAR, preview.png", told[0])
    assert told[1].endswith("1 folders below it: more")


def test_what_is_left_out_of_a_folder_of_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture(1))
    (tmp_path / "photos" / "b.heic").write_bytes(b"?")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    write_tar(tmp_path / "photos" / "data", pictures())
    told = FolderCorpus(path=str(tmp_path / "photos")).left_out()
    assert told == ["2 files that are no pictures: b.heic, data/00000.tar", "1 links to folders: link"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("a/00000.tar", "the shards are in folders of"), ("00000.tar.gz", "compressed tars (00000.tar.gz)")],
)
def test_where_no_shard_is_read_the_error_says_what_is_there(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(tar_bytes(pictures()))
    with pytest.raises(UserError, match=re.escape(message)):
        LaionCorpus(shards=str(tmp_path)).listing()


def test_escape_codes_in_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    rows = read(write_tar(tmp_path, pictures(["\x1b[31mred\x07", "two\nlines", "plain"])))
    assert [row.key for row in rows] == ["00000/\\x1b[31mred\\x07", "00000/two\\x0alines", "00000/plain"]
    assert all(row.key.isprintable() and (row.member or "").isprintable() for row in rows)


def test_two_joined_tars_are_a_damaged_shard(tmp_path: Path) -> None:
    first, second = tar_bytes(pictures(NAMES[:2])), tar_bytes(pictures(NAMES[2:]))
    (tmp_path / "00000.tar").write_bytes(first + second)
    assert re.match("damaged shard: goes on after its end mark", read(tmp_path)[-1].reason or "")


def test_a_download_that_never_came_is_a_damaged_shard(tmp_path: Path) -> None:
    whole = tar_bytes([(f"{number}.png", picture(number, (400, 400), "BMP")) for number in range(8)])
    half = len(whole) // 2 // 512 * 512
    (tmp_path / "00000.tar").write_bytes(whole[:half] + bytes(len(whole) - half))
    assert (read(tmp_path)[-1].reason or "").startswith("damaged shard: ")


@pytest.mark.parametrize("index", [Scan(), Scan(codes="rabitq"), IVF()], ids=["scan", "rabitq", "ivf"])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_few_pictures_are_searched_exactly(
    tmp_path: Path, config: RetrievalConfig, index: Scan | IVF, count: int
) -> None:
    folder = write_tar(tmp_path / "in", pictures([str(number) for number in range(count)]))
    place = place_in(tmp_path)
    build_corpus(place, LaionCorpus(shards=str(folder)), config.model_copy(update={"index": index}))
    (hits,) = open_corpus(place).search(["anything"], 20)
    assert len(hits) == count


@pytest.mark.parametrize("index", [Scan(), Scan(codes="rabitq"), IVF()], ids=["scan", "rabitq", "ivf"])
def test_equal_vectors_are_indexed(tmp_path: Path, config: RetrievalConfig, index: Scan | IVF) -> None:
    """Pictures of one colour, which differ in their bytes alone."""
    grey = [(f"{number}.bmp", _grey(number)) for number in range(60)]
    place = place_in(tmp_path)
    coded = config.model_copy(update={"index": index.model_copy(update={"target": 0.0})})
    build_corpus(place, LaionCorpus(shards=str(write_tar(tmp_path / "in", grey))), coded)
    (hits,) = open_corpus(place).search(["anything"], 3)
    assert hits


def _grey(number: int) -> bytes:
    """A grey picture with a comment behind its pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "BMP")
    return buffer.getvalue() + bytes([number])


def test_shards_on_a_web_server_without_sizes_are_built(tmp_path: Path, config: RetrievalConfig) -> None:
    folder = write_tar(tmp_path / "in", pictures())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = LaionCorpus(shards=f"http://127.0.0.1:{server.server_port}/")
        place = place_in(tmp_path)
        build_corpus(place, source, config)
        (hits,) = open_corpus(place).search(["anything"], 9)
        server.shutdown()
    assert len(hits) == 4


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_twenty_who_add_at_once_every_one_is_in_the_catalog(tmp_path: Path, config: RetrievalConfig) -> None:
    place = place_in(tmp_path)
    build_corpus(place, LaionCorpus(shards=str(write_tar(tmp_path / "in", pictures()))), config)
    folders = [write_tar(tmp_path / f"add{n}", pictures([f"x{n}"]), f"add{n:02d}.tar") for n in range(20)]
    added = [subprocess.Popen([sys.executable, "-c", ADD, place.store.root, str(folder)]) for folder in folders]
    assert [process.wait(1500) for process in added] == [0] * 20
    assert len(open_corpus(place)) == 4
    assert {entry.address for entry in sources(place)} == {str(tmp_path / "in"), *map(str, folders)}


ADD = """
import sys
from tasks.corpora import LaionCorpus
from tasks.corpus import add_to_corpus
from tasks.store import Place, Store
add_to_corpus(Place(Store(sys.argv[1]), "corpora/test"), LaionCorpus(shards=sys.argv[2]))
"""


def test_a_picture_of_one_row_of_pixels_is_refused_from_its_header(tmp_path: Path) -> None:
    (row,) = read(write_tar(tmp_path, [("line.png", picture(1, (1_000_000, 1)))]))
    assert row.reason == "too narrow: 1000000x1"


def test_a_file_name_that_is_no_text_costs_one_row(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture(1))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(picture(2))
    corpus = FolderCorpus(path=str(tmp_path))
    with corpus.shard(tmp_path.name) as reader:
        rows = {decoded.sample.member: decoded.sample.reason for decoded in reader.read()}
    assert rows == {"caf\\xe9.jpg": "bad name: it has characters that cannot be printed", "good.png": None}


def test_a_relative_address_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "data", pictures())
    monkeypatch.chdir(tmp_path)
    source = detect_source("data")
    monkeypatch.chdir("/")
    assert source.check() == "1 shards"


def test_one_line_says_what_a_shard_gave(
    tmp_path: Path, config: RetrievalConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = write_tar(tmp_path / "in", [*pictures(), ("broken.png", b"no picture")])
    statuses = ["success"] * 4 + ["failed_to_download"]
    write_facts(folder, {"key": [*NAMES, "000000009"], "caption": ["a", "b", None, None, "e"], "status": statuses})
    build_corpus(place_in(tmp_path), LaionCorpus(shards=str(folder)), config)
    line = "shard 00000: 4 pictures, 2 captions, 4 of 5 metadata rows; 1 broken, 1 failed"
    assert line in [record.message for record in caplog.records]


def test_a_model_with_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_tiny_clip(tmp_path)
    weights = load_file(folder / "open_clip_model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(UserError, match="no numbers"):
        Clip(model=f"local-dir:{folder}").open()


def test_any_error_of_one_picture_is_its_reason(tmp_path: Path) -> None:
    def transform(image: Image.Image) -> Image.Image:
        if np.asarray(image)[0, 0, 0] == np.asarray(Image.open(tmp_path / "1.png").convert("RGB"))[0, 0, 0]:
            raise MemoryError("too much")
        return image

    (tmp_path / "1.png").write_bytes(picture(1))
    folder = write_tar(tmp_path / "in", pictures())
    with LaionCorpus(shards=str(folder)).shard("00000") as reader:
        reasons = [decoded.sample.reason for decoded in reader.read(transform)]
    assert reasons == [None, "broken: too much", None, None]


def test_metadata_that_is_no_json_object_costs_nothing(tmp_path: Path) -> None:
    sidecars = [b"[1]", b"null", json.dumps({"key": "k"}).encode(), b"\xff\xfe"]
    members = [
        member
        for (file, data), facts, name in zip(pictures(), sidecars, NAMES, strict=True)
        for member in ((file, data), (f"{name}.json", facts))
    ]
    assert [row.reason for row in read(write_tar(tmp_path, members))] == [None] * 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(st.text(max_size=5), value, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["key", "caption", "url", "uid", "punsafe", "similarity", "exif", "status"]), JSON)
@settings(max_examples=150, deadline=None)
def test_any_metadata_value_costs_at_most_its_row(name: str, value: object) -> None:
    members = [*pictures(["a"]), ("a.json", json.dumps({"caption": "fine", name: value}).encode()), *pictures(["b"])]
    with TemporaryDirectory() as folder:
        rows = read(write_tar(Path(folder), members))
        to_table(Sample, rows)
    assert [row.key for row in rows] == ["00000/a", "00000/b"]
    assert rows[1].reason is None


@given(st.integers(0), st.integers(1, 255), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_of_a_tar_is_survived_and_named(position: int, change: int, sidecars: bool) -> None:
    """Every picture is served as it was, or named in a reason; or its own bytes changed, and its checksum with them."""
    members = [*pictures(), *(captions() if sidecars else [])]
    data = bytearray(tar_bytes(members))
    position %= len(data)
    data[position] ^= change
    with TemporaryDirectory() as folder:
        (Path(folder) / "00000.tar").write_bytes(bytes(data))
        rows = read(folder)
        to_table(Sample, rows)
    reasons = [row for row in rows if row.reason is not None]
    originals = {hashlib.sha256(picture(number)).hexdigest() for number in range(4)}
    changed = [row for row in rows if row.reason is None and row.sha256 not in originals]
    lost = 4 - len([row for row in rows if row.reason is None])
    assert lost == 0 or reasons, "a picture that is not served is named"
    assert len(changed) <= 1, "one byte changes one picture"
