"""Building, adding to and opening a corpus: what is found, what is refused, what is reused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from tasks.corpora import FolderCorpus, LaionCorpus, WorldCorpus
from tasks.corpora.decode import Limits
from tasks.corpora.masks import Masks
from tasks.corpora.sample import Sample
from tasks.corpus import CorpusHandle, add_to_corpus, build_corpus, corpus_place, open_corpus, part_of
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.retrieval.filters import Filter
from tasks.retrieval.index import IVF, Scan
from tasks.settings.errors import UserError
from tasks.store import Place, Store
from tests.fixtures.shards import ordinary_shards, picture, sample, write_parquet, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RetrievalConfig:
    return RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path_factory.mktemp('clip'))}"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Store(str(tmp_path / "store")), "corpora/test")


def attempts(place: Place) -> dict[str, str]:
    """The attempt of every stage: another one means that the stage ran again."""
    manifests = Path(place.store.root, place.prefix).rglob("manifest.json")
    return {str(file.parent): file.read_text().partition('"attempt": "')[2][:8] for file in manifests}


def test_a_built_corpus_gives_hits_bytes_and_vectors(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    build_corpus(place, LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards"))), config)
    corpus = open_corpus(place)
    (hits,) = corpus.search(["a bar chart"], k=5)
    assert len({hit.key for hit in hits}) == 5
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert corpus.pictures(["00001/000010003"])[0].data == picture(23)
    vectors = corpus.embeddings([hit.key for hit in hits])
    query = config.clip.open().embed_texts(["a bar chart"])[0]
    np.testing.assert_allclose(vectors @ query, [hit.score for hit in hits], atol=1e-5)
    assert len(corpus) == 40


def test_the_hits_of_a_text_do_not_depend_on_other_texts(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    build_corpus(place, LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards"))), config)
    corpus, texts = open_corpus(place), ["a clock", "a bar chart", "a clock", "three circles"]
    together = corpus.search(texts, 3)
    assert [[hit.key for hit in open_corpus(place).search([text], 3)[0]] for text in texts] == [
        [hit.key for hit in hits] for hits in together
    ]
    assert corpus.search([], 3) == []


def test_equal_bytes_are_found_once_and_still_served(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    write_shard(tmp_path / "shards", "00000", [*sample("a", 1), *sample("b", 2)])
    write_shard(tmp_path / "shards", "00001", [*sample("c", 1), *sample("d", 1)])
    index = build_corpus(place, LaionCorpus(shards=str(tmp_path / "shards")), config)
    assert (index.counters["kept"], index.counters["duplicate"]) == (2, 2)
    corpus = open_corpus(place)
    assert sorted(hit.key for hit in corpus.search(["anything"], 5)[0]) == ["00000/a", "00000/b"]
    assert corpus.pictures(["00001/c"])[0].data == picture(1)
    with pytest.raises(UserError, match="no picture 00001/c in the index"):
        corpus.embeddings(["00001/c"])


def test_bad_pictures_are_counted_and_refused_with_their_reason(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    tar = write_shard(tmp_path / "shards", "00000", [("bad.png", b"nothing"), *sample("good", 2)])
    write_shard(tmp_path / "shards", "00001", sample("late", 3)).write_bytes(tar.read_bytes()[:700])
    index = build_corpus(place, LaionCorpus(shards=str(tmp_path / "shards")), config)
    assert {name: index.counters[name] for name in ("kept", "broken", "damaged shard")} == {
        "kept": 1,
        "broken": 1,
        "damaged shard": 1,
    }
    corpus = open_corpus(place)
    assert [hit.key for hit in corpus.search(["x"], 5)[0]] == ["00000/good"]
    with pytest.raises(UserError, match="not served: broken"):
        corpus.pictures(["00000/bad"])
    with pytest.raises(UserError, match="no picture 7/7"):
        corpus.pictures(["7/7"])


def test_a_second_build_embeds_only_new_shards(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    source = LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards", shards=2, pictures=4)))
    first = build_corpus(place, source, config)
    before = attempts(place)
    assert build_corpus(place, source, config).content_id == first.content_id
    assert attempts(place) == before
    ordinary_shards(tmp_path / "shards", shards=1, pictures=4, first=2)
    assert build_corpus(place, source, config).counters["kept"] == 12
    same = {stage for stage, attempt in attempts(place).items() if before.get(stage) == attempt}
    assert {Path(stage).parent.name for stage in same} >= {"00000", "00001"}
    assert not any("index" in stage for stage in same)


def test_another_threshold_embeds_nothing_again(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    shards = str(ordinary_shards(tmp_path / "shards", shards=2, pictures=4))
    (tmp_path / "blocked.txt").write_text("00001/000010002\n")
    build_corpus(place, LaionCorpus(shards=shards), config)
    before = attempts(place)
    stricter = LaionCorpus(shards=shards, masks=Masks(blocklists=(str(tmp_path / "blocked.txt"),)))
    index = build_corpus(place, stricter, config)
    assert (index.counters["kept"], index.counters["blocked"]) == (7, 1)
    assert {Path(stage).name for stage, attempt in attempts(place).items() if before.get(stage) != attempt} == {
        "index",
        "catalog",
    }
    assert len(open_corpus(place)) == 7


def test_adding_shards_gives_the_same_index_as_a_rebuild(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    ordinary_shards(tmp_path / "new", shards=1, pictures=4, first=1)
    for first in (0, 2):
        ordinary_shards(tmp_path / "old", shards=1, pictures=4, first=first)
    build_corpus(place, LaionCorpus(shards=str(tmp_path / "old")), config)
    before = attempts(place)
    added = add_to_corpus(place, LaionCorpus(shards=str(tmp_path / "new" / "00001.tar")))
    ran = {
        str(Path(stage).relative_to(place.store.root))
        for stage, attempt in attempts(place).items()
        if before.get(stage) != attempt
    }
    assert ran == {
        f"corpora/test/{stage}" for stage in ("index", "catalog", "parts/00001/shard", "parts/00001/embeddings")
    }
    corpus = open_corpus(place)
    assert [picture.data for picture in corpus.pictures(["00001/000010002", "00002/000020000"])] == [
        picture(6),
        picture(8),
    ]

    ordinary_shards(tmp_path / "all", shards=3, pictures=4)
    rebuilt = build_corpus(Place(place.store, "corpora/all"), LaionCorpus(shards=str(tmp_path / "all")), config)
    assert rebuilt.content_id == added.content_id


def test_a_handle_opens_its_own_index_after_shards_are_added(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    shards = str(ordinary_shards(tmp_path / "shards", shards=2, pictures=3))
    handle = CorpusHandle(index=build_corpus(place, LaionCorpus(shards=shards), config), retrieval=config)
    add_to_corpus(place, LaionCorpus(shards=str(write_shard(tmp_path / "more", "new", sample("a", 77)).parent)))
    assert (len(handle.open()), len(open_corpus(place))) == (6, 7)
    other = LaionCorpus(shards=str(write_shard(tmp_path / "replaced", "00000", sample("b", 5)).parent))
    build_corpus(place, other, config)
    with pytest.raises(UserError, match="replaced since its index was made: play the round again"):
        handle.open()


def test_adding_known_shards_is_free_and_a_clash_needs_a_prefix(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    shards = str(ordinary_shards(tmp_path / "shards", shards=1, pictures=3))
    build_corpus(place, LaionCorpus(shards=shards), config)
    before = attempts(place)
    add_to_corpus(place, LaionCorpus(shards=shards))
    assert attempts(place) == before
    other = str(write_shard(tmp_path / "other", "00000", sample("a", 77)).parent)
    with pytest.raises(UserError, match="give the new ones a prefix"):
        add_to_corpus(place, LaionCorpus(shards=other))
    add_to_corpus(place, LaionCorpus(shards=other, prefix="other-"))
    assert open_corpus(place).pictures(["other-00000/a", "00000/000000002"])[0].data == picture(77)
    with pytest.raises(UserError, match="no built corpus"):
        add_to_corpus(Place(place.store, "corpora/none"), LaionCorpus(shards=shards))


def test_too_many_damaged_shards_stop_the_build_with_a_list(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    ordinary_shards(tmp_path, shards=3, pictures=2)
    for name in ("00001", "00002"):
        (tmp_path / f"{name}.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"2 of 3 shards are damaged.*00001: truncated at byte 6; 00002: truncated"):
        build_corpus(place, LaionCorpus(shards=str(tmp_path)), config)
    lenient = LaionCorpus(shards=str(tmp_path), limits=Limits(max_failures=0.7))
    assert build_corpus(place, lenient, config).counters["damaged shard"] == 2


def test_broken_pictures_stop_the_build_and_failed_downloads_not(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    write_shard(tmp_path, "00000", [*sample("a", 1), *sample("b", 2), ("c.jpg", b"?"), ("d.jpg", b"?")])
    write_parquet(tmp_path, "00000", {"key": [f"gone{n}" for n in range(9)], "status": ["failed_to_download"] * 9})
    assert build_corpus(place, LaionCorpus(shards=str(tmp_path)), config).counters["failed"] == 9
    strict = LaionCorpus(shards=str(tmp_path), limits=Limits(max_failures=0.4))
    with pytest.raises(UserError, match=r"2 of 4 pictures are broken.*00000: 2 of 4"):
        build_corpus(place, strict, config)


def test_near_duplicates_form_a_group(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    members = [("a.png", picture(1)), ("b.bmp", picture(1, form="BMP")), ("c.png", picture(2)), ("d.png", picture(1))]
    write_shard(tmp_path, "00000", members)
    index = build_corpus(place, LaionCorpus(shards=str(tmp_path)), config)
    assert [(row.group, row.reason) for row in index.read()] == [
        (None, None),
        ("00000/a", None),
        (None, None),
        (None, "duplicate of 00000/a"),
    ]
    assert index.counters["near-duplicates"] == 1


def test_moved_shards_give_the_same_corpus(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    ordinary_shards(tmp_path / "old", shards=1, pictures=3)
    first = build_corpus(place, LaionCorpus(shards=str(tmp_path / "old")), config)
    os.rename(tmp_path / "old", tmp_path / "new")
    assert build_corpus(place, LaionCorpus(shards=str(tmp_path / "new")), config).content_id == first.content_id
    assert open_corpus(place).pictures(["00000/000000001"])[0].data == picture(1)


def test_queries_with_another_model_are_refused(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    build_corpus(place, LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards", shards=1, pictures=3))), config)
    other = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'other', seed=1)}"))
    with pytest.raises(UserError, match="embedded by another model"):
        open_corpus(place, other).search(["x"], 1)


def test_recall_on_texts_is_measured_and_recorded(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    source = LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards", shards=1, pictures=120)))
    assert build_corpus(place, source, config).counters["text recall@5 /10000"] == 10_000
    (tmp_path / "asked.txt").write_text("".join(f"a picture of {number}\n" for number in range(80)))
    coded = config.model_copy(update={"index": Scan(), "queries": (str(tmp_path / "*.txt"),)})
    counters = build_corpus(place, source, coded).counters
    assert counters["text recall@5 /10000"] >= 9_500 and counters["searcher recall@5 /10000"] >= 9_500
    assert counters.keys() >= {"image recall@5 /10000", "latency us", "rerank", "probes", "lists"}
    corpus = open_corpus(place)
    assert corpus.index.codes is not None and corpus.index.codes.parameters.rerank == counters["rerank"]
    assert len(corpus.search(["scene 3"], 5)[0]) == 5


def test_a_build_below_its_recall_target_fails_with_its_recall(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    source = LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards", shards=1, pictures=120)))
    poor = config.model_copy(update={"index": IVF(lists=3, rerank=1, target=0.99)})
    with pytest.raises(
        UserError, match=r"text recall@5 of 0\.\d+ \(of \d+ queries\), less than its target of 0.99"
    ) as error:
        build_corpus(place, source, poor)
    assert "\n" not in str(error.value)
    assert place.find("index", Sample) is None


def test_added_shards_are_coded_without_training_again(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    coded = config.model_copy(update={"index": IVF(lists=2, drift=1.0)})
    ordinary_shards(tmp_path / "old", shards=2, pictures=40, first=1)
    ordinary_shards(tmp_path / "new", shards=1, pictures=40)
    build_corpus(place, LaionCorpus(shards=str(tmp_path / "old")), coded)
    before = attempts(place)
    index = add_to_corpus(place, LaionCorpus(shards=str(tmp_path / "new")))
    again = {Path(stage).name for stage, attempt in attempts(place).items() if before.get(stage) == attempt}
    assert "quantizer" in again and index.counters["text recall@5 /10000"] >= 9_500
    corpus = open_corpus(place)
    keys = ["00000/000000007", "00002/000020007"]
    for key, vector in zip(keys, corpus.embeddings(keys), strict=True):
        ((number, score),) = corpus.index.search_distinct(vector[None], 1, 0.98, 4)[0]
        assert corpus.samples["key"][int(corpus.vector_rows[number])].as_py() == key
        assert score == pytest.approx(1, abs=1e-3)
    before = attempts(place)
    assert add_to_corpus(place, LaionCorpus(shards=str(tmp_path / "new"))).content_id == index.content_id
    assert attempts(place) == before


def test_codes_are_trained_again_if_added_shards_err_more(
    tmp_path: Path, place: Place, config: RetrievalConfig
) -> None:
    write_shard(tmp_path / "old", "00000", [m for n in range(40) for m in sample(f"{n:03d}", n, f"scene {n}")])
    plain = [("a.png", picture(99))] + [(f"{n:03d}.png", picture(1000 + n, (112, 112 + n))) for n in range(40)]
    write_shard(tmp_path / "new", "00001", plain)
    build_corpus(place, LaionCorpus(shards=str(tmp_path / "old")), config.model_copy(update={"index": Scan(drift=0.0)}))
    before = attempts(place)
    add_to_corpus(place, LaionCorpus(shards=str(tmp_path / "new")))
    ran = {Path(stage).name for stage, attempt in attempts(place).items() if before.get(stage) != attempt}
    assert "quantizer" in ran
    assert len(open_corpus(place).search(["x"], 5)[0]) == 5


def test_filters_apply_to_words_size_and_safety(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    members = [("a.png", picture(1)), ("b.png", picture(2, (300, 200))), ("c.png", picture(3)), ("d.png", picture(4))]
    write_shard(tmp_path, "00000", members)
    captions = ["A Pie chart", "a bar chart", "barley", None]
    figures = {"key": list("abcd"), "TEXT": captions, "punsafe": [0.0, 0.1, 0.4, None], "status": ["success"] * 4}
    write_parquet(tmp_path, "00000", figures)
    build_corpus(place, LaionCorpus(shards=str(tmp_path)), config)
    corpus = open_corpus(place)

    def keys_found(**conditions: Any) -> set[str]:
        return {hit.key[-1] for hit in corpus.search(["x"], 5, Filter(**conditions))[0]}

    assert keys_found() == set("abcd")
    assert keys_found(words=("bar", "PIE")) == set("ab")
    assert keys_found(min_side=150) == {"b"}
    assert keys_found(max_unsafe=0.2) == set("abd")
    assert keys_found(words=("chart",), max_unsafe=0.05) == {"a"}
    assert keys_found(words=("nothing",)) == set()
    always = open_corpus(place, config.model_copy(update={"only": Filter(words=("barley",))}))
    assert [hit.key for hit in always.search(["x"], 5)[0]] == ["00000/c"]


def test_fusion_finds_pictures_by_words_of_the_caption(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    build_corpus(place, LaionCorpus(shards=str(ordinary_shards(tmp_path / "shards", shards=1, pictures=80))), config)
    text, key = "000000042", "00000/000000042"
    fused = open_corpus(place, config.model_copy(update={"fusion": True}))
    assert key in {hit.key for hit in fused.search([text, "a clock"], 5)[0]}
    plain = open_corpus(place).search([text], 80)[0]
    (hit,) = [hit for hit in fused.search([text], 5)[0] if hit.key == key]
    assert hit.score == next(hit.score for hit in plain if hit.key == key)


def test_a_store_in_memory_holds_a_corpus(tmp_path: Path, config: RetrievalConfig) -> None:
    ordinary_shards(tmp_path, shards=1, pictures=3)
    fsspec.filesystem("memory").pipe_file("/in/00000.tar", (tmp_path / "00000.tar").read_bytes())
    place = corpus_place("memory://store/corpora/small")
    there = build_corpus(place, LaionCorpus(shards="memory://in"), config)
    here = build_corpus(corpus_place(str(tmp_path / "corpora" / "small")), LaionCorpus(shards=str(tmp_path)), config)
    assert there.content_id == here.content_id
    corpus = open_corpus(place)
    assert corpus.pictures([corpus.search(["x"], 1)[0][0].key])


def test_a_folder_of_images_is_a_corpus(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    (tmp_path / "Some Photos").mkdir()
    for seed in range(3):
        (tmp_path / "Some Photos" / f"{seed}.jpg").write_bytes(picture(seed, (200, 150), "JPEG"))
    build_corpus(place, FolderCorpus(path=str(tmp_path / "Some Photos")), config)
    corpus = open_corpus(place)
    assert corpus.pictures(["Some Photos/2.jpg"])[0].data == picture(2, (200, 150), "JPEG")
    assert len(corpus.search(["x"], 3)[0]) == 3


def test_the_micro_world_is_rendered_into_the_store_once(place: Place, config: RetrievalConfig) -> None:
    world = WorldCorpus(pictures=30, seed=3, per_shard=20, held_out=10)
    build_corpus(place, world, config)
    before = attempts(place)
    build_corpus(place, world, config)
    assert attempts(place) == before
    corpus = open_corpus(place)
    keys = [hit.key for hit in corpus.search(["a bar chart"], 5)[0]]
    assert all((corpus.sample(key).url or "").startswith("world://") for key in keys)
    assert {picture.image.size for picture in corpus.pictures(keys)} == {(112, 112)}


def test_the_error_without_a_corpus_says_how_to_build_one(place: Place) -> None:
    with pytest.raises(UserError, match="active-zero corpus build"):
        open_corpus(place)


def test_a_corpus_without_a_usable_picture_is_refused(tmp_path: Path, place: Place, config: RetrievalConfig) -> None:
    write_shard(tmp_path / "shards", "00000", [("small.png", picture(1, (4, 4)))])
    with pytest.raises(UserError, match="no usable picture"):
        build_corpus(place, LaionCorpus(shards=str(tmp_path / "shards")), config)


def test_every_shard_name_has_its_own_part(place: Place) -> None:
    names = ["00000", "A", "a", "photos/trip", "photos-trip", "..", "ähre", "..x"]
    assert len({part_of(place, name).prefix for name in names}) == len(names)
