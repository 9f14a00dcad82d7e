"""Peak host memory of `6-filter` over many photographs of a megapixel: `python -m tests.bench.filter_memory 5000`.

The stage itself runs, on a corpus of JPEGs and the shipped model, with one question a picture and two answers. Making
the corpus is left out of the peak: it lies in a process of its own. The vision cache is small, so that it is full at
once: what then grows with the pictures is what the stage holds of each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tasks.config import FilterConfig, load_config
from tasks.corpus import CorpusHandle, build_corpus, built_index, place_of
from tasks.filter import filter_questions, open_gold_items
from tasks.players.team import Team
from tasks.records import Question
from tasks.store import Output, Place, Store
from tests.fixtures.overrides import as_overrides
from tests.fixtures.photographs import photograph
from tests.fixtures.shards import write_shard

SIZE, PER_SHARD = (1154, 866), 500
"""One megapixel; photographs a shard."""


def settings(folder: Path) -> tuple[str, ...]:
    """Overrides of `tiny.yaml`. Pictures keep a budget of 64 visual tokens, so that a core reads thousands."""
    return as_overrides(
        {
            "corpus.at": "megapixels",
            "corpus.source": {"kind": "laion", "shards": str(folder / "shards")},
            "pictures": {"max_pixels": 28 * 28 * 64},
            "engine.vision_cache": 0.0625,
            "filter": {"answers": 2, "gold": None, "leakage": {"blind_answers": 0}},
        }
    )


def make(folder: Path, count: int) -> None:
    """Shards, corpus and one question a picture."""
    for shard in range(-(-count // PER_SHARD)):
        numbers = range(shard * PER_SHARD, min(count, (shard + 1) * PER_SHARD))
        members = [(f"{number:09d}.jpg", photograph(number, SIZE)[1]) for number in numbers]
        write_shard(folder / "shards", f"{shard:05d}", members)
    config, store = load_config("tiny", settings(folder)), Store(str(folder / "store"))
    assert config.corpus.source is not None
    corpus = place_of(store, config.corpus.at)
    build_corpus(corpus, config.corpus.source, config.retrieval, 2)
    rows = [
        Question(
            id=f"{row.key}#0", key=row.key, domain="d", kind="numeric_value", text="how many red circles ?",
            answer="", thought="", raw="", reason=None,
        )
        for row in built_index(corpus).read()
        if row.reason is None
    ]  # fmt: skip
    place = Place.round(store, "memory", 1)
    with place.hold(wait=True):
        place.commit("questions", Question, Output(rows), {}, 0.0)


def label(folder: Path) -> None:
    """Runs the stage, and prints its seconds and this process's peak."""
    config, store = load_config("tiny", settings(folder)), Store(str(folder / "store"))
    place = Place.round(store, "memory", 1)
    questions = place.find("questions", Question)
    assert questions is not None
    handle, filtering = CorpusHandle.of_run(store, config), FilterConfig.model_validate(config.filter)
    started = time.monotonic()
    filter_questions.work(
        place, filtering, open_gold_items(filtering), Team.base(config), questions, (), handle, config.seed
    )
    peak, worker = (
        resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    seconds = time.monotonic() - started
    print(
        f"{questions.rows} photographs: {seconds:.0f} s, peak {peak:.2f} GiB, largest engine process {worker:.2f} GiB"
    )


def main() -> None:
    """Both steps, each in its own process."""
    match sys.argv[1:]:
        case ["make", folder, count]:
            make(Path(folder), int(count))
        case ["label", folder]:
            label(Path(folder))
        case counts:
            for count in counts or ["5000"]:
                with tempfile.TemporaryDirectory() as folder:
                    for step in (["make", folder, count], ["label", folder]):
                        subprocess.run([sys.executable, "-m", "tests.bench.filter_memory", *step], check=True)


if __name__ == "__main__":
    main()
