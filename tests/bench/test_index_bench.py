"""An index tuned on texts beside the IVF that one gets by tuning on the corpus's own pictures, as autofaiss does.

Vectors are drawn from a seed with a modality gap (`tests/fixtures/gap.py`). The incumbent is `IVF<4 sqrt n>,Flat` whose
nprobe is the least with which pictures find their own neighbours, or as many as take as long as ours; beside it plain
RaBitQ, as many of its candidates re-ranked as of ours. One query at a time, one thread; exact search streams the
float16 vectors. What an IVF loses on texts depends on how fast the axes fall, so two spectra are measured; `pq` and the
first of them were chosen on this generator, so ours is not blind to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.retrieval.codes import Codes, Quantizer
from tasks.retrieval.index import Index
from tasks.retrieval.tuning import measure, tune
from tasks.retrieval.vectors import Vectors
from tests.fixtures.gap import gapped

PICTURES, DIMENSIONS, TRAIN, TUNE, MEASURE, K, TARGET = 100_000, 512, 4096, 400, 400, 5, 0.95
SELF_TARGETS = (0.95, 0.99)
TIMED, TURNS = 100, 3

Floats = NDArray[np.float32]
Search = Callable[[Floats], Any]


def milliseconds(searches: dict[str, Search], queries: Floats) -> dict[str, float]:
    """Median of one query, the searches taking turns so that a busy moment meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(TURNS):
        for name, search in searches.items():
            search(queries[:1])
            for query in queries[:TIMED]:
                start = time.perf_counter()
                search(query[None])
                taken[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(seconds)) for name, seconds in taken.items()}


def found(numbers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(numbers.tolist(), truth.tolist(), strict=True)]))


def self_tuned(vectors: Floats, pictures: Floats, truth: NDArray[np.int64], lists: int) -> tuple[Any, dict[float, int]]:
    """FAISS's IVF, and the least nprobe for each recall on pictures."""
    import faiss

    index = faiss.index_factory(DIMENSIONS, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    index.train(vectors[:: max(1, len(vectors) // (40 * lists))])
    index.add(vectors)
    recalls = {}
    for probes in range(1, 129):
        index.nprobe = probes
        recalls[probes] = found(index.search(pictures, K)[1], truth)
        if recalls[probes] >= max(SELF_TARGETS):
            break
    return index, {target: next(p for p, recall in recalls.items() if recall >= target) for target in SELF_TARGETS}


def probes_within(limit: float, with_probes: Callable[[int], Search], queries: Floats) -> int:
    """The most lists that can be looked into in so many milliseconds."""
    counts = range(8, 256, 8)
    taken = milliseconds({str(count): with_probes(count) for count in counts}, queries[: TIMED // 4])
    return max((count for count in counts if taken[str(count)] <= limit), default=8)


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fall", [0.4, 0.6])
def test_text_recall_beside_an_ivf_tuned_on_pictures(benchmark: Any, fall: float) -> None:
    import faiss
    import torch

    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    stored, texts = gapped(PICTURES, TRAIN + TUNE + MEASURE, DIMENSIONS, fall=fall)
    train, tuning, asked = np.split(texts, [TRAIN, TRAIN + TUNE])
    pictures = stored[:: PICTURES // MEASURE].astype(np.float32)
    exact = Index(Vectors([stored]), device="cpu")

    start = time.process_time()
    codes = Codes.empty(Quantizer.train(stored[::6], train, lists=1, scheme="pq"))
    codes.add(stored)
    ours = Index(exact.vectors, codes=codes, device="cpu")
    ours.codes = codes.with_setting(tune(ours, tuning, TARGET, 64))
    built = time.process_time() - start

    truth = {"texts": exact.search(asked, K)[1], "pictures": exact.search(pictures, K)[1]}
    start = time.process_time()
    ivf, probes = self_tuned(stored.astype(np.float32), pictures, truth["pictures"], round(4 * PICTURES**0.5))
    ivf_built = time.process_time() - start

    def with_probes(count: int) -> Search:
        def search(query: Floats) -> Any:
            ivf.nprobe = count
            return ivf.search(query, K)

        return search

    searches: dict[str, Search] = {f"IVF, {t:.2f} on pictures": with_probes(count) for t, count in probes.items()}
    searches |= {"ours": lambda query: ours.search(query, K), "exact": lambda query: exact.search(query, K)}
    benchmark.pedantic(lambda: ours.search(asked[:1], K), rounds=20, warmup_rounds=2)
    latency = milliseconds(searches, asked)
    as_slow = "IVF, as slow as ours"
    searches[as_slow] = with_probes(probes_within(latency["ours"], with_probes, asked))
    latency |= milliseconds({as_slow: searches[as_slow]}, asked)
    told: dict[str, dict[str, float]] = {}
    for name, search in searches.items():
        on_texts = measure(ours, asked).recall if name == "ours" else found(search(asked)[1], truth["texts"])
        told[name] = {
            "text recall@5": on_texts,
            "image recall@5": found(search(pictures)[1], truth["pictures"]),
            "ms": latency[name],
        }
    plain = faiss.index_factory(DIMENSIONS, "RaBitQfs", faiss.METRIC_INNER_PRODUCT)
    plain.train(stored[::6].astype(np.float32))
    plain.add(stored.astype(np.float32))
    promising = plain.search(asked, K * ours.codes.setting.rerank)[1]
    kept = np.mean([np.isin(best, seen).mean() for best, seen in zip(truth["texts"], promising, strict=True)])
    sizes = {"ours": codes.faiss.code_size * PICTURES, "exact": 0}
    for name, figures in told.items():
        figures["MB beside float16"] = sizes.get(name, 4 * DIMENSIONS * PICTURES) / 1e6
        print(f"\n{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()), end="")
    print(f"\nplain RaBitQ, as many re-ranked: text recall@5 {kept:.3g}")
    print(f"ours: {ours.codes.setting}, built in {built:.0f} s of one core; IVF: nprobe {probes}, {ivf_built:.0f} s")
    benchmark.extra_info.update(told)

    # In the time in which ours reaches the target on texts the incumbent misses it, and so it does as it was tuned.
    assert told["ours"]["text recall@5"] >= TARGET
    assert told["IVF, as slow as ours"]["text recall@5"] < TARGET
    assert told[f"IVF, {TARGET:.2f} on pictures"]["text recall@5"] < TARGET
