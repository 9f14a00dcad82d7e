"""A code index tuned on texts, compared with an IVF that is tuned on the corpus's own pictures, as autofaiss does.

Vectors are drawn from a seed with a modality gap (`tests/fixtures/gap.py`). The incumbent is `IVF<4 sqrt n>,Flat` with
the least nprobe at which pictures find their own neighbours, or with the nprobe that takes as long as our index. Plain
RaBitQ is measured too, with as many candidates re-ranked as ours. Queries are searched one at a time on one thread;
exact search streams the float16 vectors.

The loss of an IVF on texts depends on how fast the variance of the axes falls, so two spectra are measured. The kind of
code (`pq`) was chosen on the first one, so our index is not blind to this generator.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.retrieval.codes import CodeIndex, Quantizer
from tasks.retrieval.index import Index
from tasks.retrieval.tuning import measure_recall, tune
from tasks.retrieval.vectors import Vectors
from tests.fixtures.gap import gapped

PICTURES, DIMENSIONS, TRAIN, TUNE, MEASURE, K, TARGET = 100_000, 512, 4096, 400, 400, 5, 0.95
SELF_TARGETS = (0.95, 0.99)
TIMED, TURNS = 100, 3

Floats = NDArray[np.float32]
Search = Callable[[Floats], Any]


def milliseconds(searches: dict[str, Search], queries: Floats) -> dict[str, float]:
    """Median time of one query. The searches take turns, so that a busy moment of the machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(TURNS):
        for name, search in searches.items():
            search(queries[:1])
            for query in queries[:TIMED]:
                start = time.perf_counter()
                search(query[None])
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(times)) for name, times in seconds.items()}


def recall(numbers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(numbers.tolist(), truth.tolist(), strict=True)]))


def self_tuned(vectors: Floats, pictures: Floats, truth: NDArray[np.int64], lists: int) -> tuple[Any, dict[float, int]]:
    """FAISS's IVF, and the least nprobe for each target of recall on pictures."""
    import faiss

    index = faiss.index_factory(DIMENSIONS, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    index.train(vectors[:: max(1, len(vectors) // (40 * lists))])
    index.add(vectors)
    recalls = {}
    for probes in range(1, 129):
        index.nprobe = probes
        recalls[probes] = recall(index.search(pictures, K)[1], truth)
        if recalls[probes] >= max(SELF_TARGETS):
            break
    return index, {target: next(p for p, reached in recalls.items() if reached >= target) for target in SELF_TARGETS}


def probes_within(limit: float, with_probes: Callable[[int], Search], queries: Floats) -> int:
    """The largest nprobe that takes at most `limit` milliseconds."""
    counts = range(8, 256, 8)
    latency = milliseconds({str(count): with_probes(count) for count in counts}, queries[: TIMED // 4])
    return max((count for count in counts if latency[str(count)] <= limit), default=8)


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fall", [0.4, 0.6])
def test_text_recall_exceeds_an_ivf_tuned_on_pictures(benchmark: Any, fall: float) -> None:
    import faiss
    import torch

    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    stored, texts = gapped(PICTURES, TRAIN + TUNE + MEASURE, DIMENSIONS, fall=fall)
    train, tuning, queries = np.split(texts, [TRAIN, TRAIN + TUNE])
    pictures = stored[:: PICTURES // MEASURE].astype(np.float32)
    exact = Index(Vectors([stored]), device="cpu")

    start = time.process_time()
    codes = CodeIndex.empty(Quantizer.train(stored[::6], train, lists=1, scheme="pq"))
    codes.add(stored)
    ours = Index(exact.vectors, codes=codes, device="cpu")
    ours.codes = codes.with_parameters(tune(ours, tuning, TARGET, 64))
    built = time.process_time() - start

    truth = {"texts": exact.search(queries, K)[1], "pictures": exact.search(pictures, K)[1]}
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
    benchmark.pedantic(lambda: ours.search(queries[:1], K), rounds=20, warmup_rounds=2)
    latency = milliseconds(searches, queries)
    as_slow = "IVF, as slow as ours"
    searches[as_slow] = with_probes(probes_within(latency["ours"], with_probes, queries))
    latency |= milliseconds({as_slow: searches[as_slow]}, queries)
    figures: dict[str, dict[str, float]] = {}
    for name, search in searches.items():
        on_texts = (
            measure_recall(ours, queries).recall if name == "ours" else recall(search(queries)[1], truth["texts"])
        )
        figures[name] = {
            "text recall@5": on_texts,
            "image recall@5": recall(search(pictures)[1], truth["pictures"]),
            "ms": latency[name],
        }
    plain = faiss.index_factory(DIMENSIONS, "RaBitQfs", faiss.METRIC_INNER_PRODUCT)
    plain.train(stored[::6].astype(np.float32))
    plain.add(stored.astype(np.float32))
    promising = plain.search(queries, K * ours.codes.parameters.rerank)[1]
    kept = np.mean([np.isin(best, seen).mean() for best, seen in zip(truth["texts"], promising, strict=True)])
    sizes = {"ours": codes.faiss.code_size * PICTURES, "exact": 0}
    for name, row in figures.items():
        row["MB besides float16"] = sizes.get(name, 4 * DIMENSIONS * PICTURES) / 1e6
        print(f"\n{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()), end="")
    print(f"\nplain RaBitQ, as many re-ranked: text recall@5 {kept:.3g}")
    print(f"ours: {ours.codes.parameters}, built in {built:.0f} s of one core; IVF: nprobe {probes}, {ivf_built:.0f} s")
    benchmark.extra_info.update(figures)

    # The incumbent misses the target on texts: in the time that ours takes, and with the nprobe that it was tuned to.
    assert figures["ours"]["text recall@5"] >= TARGET
    assert figures["IVF, as slow as ours"]["text recall@5"] < TARGET
    assert figures[f"IVF, {TARGET:.2f} on pictures"]["text recall@5"] < TARGET
