"""No text makes the grader hang, crash or use too much memory, and none affects the results of other calls.

The long forms (`-m slow`) take a minute on an idle machine and several minutes on a busy one.
"""

import os
import random
import threading
import time
from collections.abc import Sequence

import psutil
import pytest

from tasks.grading import Equality, choose_option, equal, extract_answer, vote
from tasks.grading.symbolic import Worker, _workers

TARGETS = ("5", "x+1", "2\\sqrt{2}", "red")
OPTIONS = ["red", "5 cm", "2x+1", "none of the above"]
LIMIT = 4.0
PIECES = (
    *"0123456789+-*/^=().,:;%$ \n", "\\boxed{", "}", "\\frac{1}{2}", "\\text{ cm}", "the answer is ", "Option B",
    "not ", "so ", "A", "b", "(C)", "yes", "no ", "dogs", "\\sqrt{2}", "x", "π", "°", "half past ", "three", "是",
    "<answer>", "</think>", "**", "million", "or ", "and ", "\u200b", "½", "July 4", "km/h", "\\begin{pmatrix}",
    "\\\\", "&", "{", "[",
)  # fmt: skip


def model_outputs(count: int, seed: int) -> list[str]:
    """Random texts of what models write: words, numbers, LaTeX, boxes."""
    rng = random.Random(seed)
    return ["".join(rng.choices(PIECES, k=rng.randrange(1, 25))) for _ in range(count)]


def slowest_call(text: str) -> float:
    """Seconds of the slowest of all the grader's functions on one text."""
    calls = [lambda: extract_answer(text), lambda: choose_option(text, OPTIONS), lambda: vote([text, "5", text])]
    calls += [lambda target=target: equal(text, target) for target in TARGETS]  # type: ignore[misc]
    slowest = 0.0
    for call in calls:
        start = time.monotonic()
        call()
        slowest = max(slowest, time.monotonic() - start)
    return slowest


def memory(processes: Sequence[psutil.Process]) -> int:
    """Resident bytes of the processes together."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def in_threads(texts: Sequence[str], count: int = 8) -> tuple[float, int]:
    """The slowest call and the most memory, of this process's growth and its workers, with `count` threads."""
    slowest = [0.0] * count
    ours = psutil.Process(os.getpid())
    before, most = ours.memory_info().rss, 0

    def work(thread: int) -> None:
        for text in texts[thread::count]:
            slowest[thread] = max(slowest[thread], slowest_call(text))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(count)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, ours.memory_info().rss - before + memory(ours.children(recursive=True)))
        time.sleep(0.05)
    return max(slowest), most


def ordinary_results() -> list[Equality]:
    return [equal("x^2+2x+1", "(x+1)^2"), equal("2x+1", "2x+2"), equal("5 cm", "50 mm"), equal("red", "blue")]


@pytest.fixture(scope="module", autouse=True)
def workers_are_up() -> None:
    """Start the workers first: a busy machine takes long, which is no measure of a call."""
    for _ in range(10):
        if equal("x+1", "1+x").equal:
            return


def test_hostile_answers_take_no_longer_than_the_limit(hostile: list[str]) -> None:
    assert max(slowest_call(text) for text in hostile[:18]) < LIMIT


@pytest.mark.parametrize("length", [257, 10_000, 1_000_000])
@pytest.mark.parametrize("piece", ["9", "(", "\\frac{", "a ", "(a+)+", "1,", "\\boxed{", "not A ", "²", "is "])
def test_a_long_text_costs_no_more_than_reading_it(piece: str, length: int) -> None:
    text = (piece * length)[:length]
    start = time.process_time()
    assert not equal(text, "5").equal
    choose_option(text, OPTIONS)
    extract_answer(text)
    assert time.process_time() - start < 2


def test_random_model_outputs_are_graded_without_exception() -> None:
    for text in model_outputs(300, seed=1):
        extract_answer(text)
        choose_option(text, OPTIONS)
        equal(text, "5"), equal("red", text)


def test_hostile_texts_of_one_thread_do_not_affect_other_threads(hostile: list[str]) -> None:
    stop = threading.Event()

    def disturb() -> None:
        for text in hostile:
            if stop.is_set():
                return
            equal(text, "x+1")

    disturber = threading.Thread(target=disturb)
    disturber.start()
    all_results = [ordinary_results() for _ in range(5)]
    stop.set()
    disturber.join()
    for results in all_results:
        assert [bool(result) for result in results[1:]] == [False, True, False]
        assert results[0] or results[0].reason == "algebra: busy time-out"


def test_a_killed_worker_is_replaced() -> None:
    worker = Worker()
    try:
        assert worker.compare("2x+1", "1+2x") == "equal"
        process = worker._process
        assert process is not None
        process.kill()
        process.wait()
        assert worker.compare("3x+1", "1+3x", 60) == "equal"
        assert worker._process is not process
    finally:
        worker.stop()


def test_a_worker_has_a_limit_on_its_memory() -> None:
    worker = Worker()
    try:
        worker.start()
        assert worker._process is not None
        process = psutil.Process(worker._process.pid)
        soft, hard = process.rlimit(psutil.RLIMIT_AS)
        assert soft == hard == 768 << 20
        assert worker.compare("\\prod_{k} " + "x" * 30 + "9" * 100, "10^{999}^{999}") in (
            "different",
            "time-out",
            "failed",
        )
        assert all(child.rlimit(psutil.RLIMIT_AS) == (soft, hard) for child in process.children())
    finally:
        worker.stop()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_hostile_answers_from_eight_threads(hostile: list[str]) -> None:
    slowest, most = in_threads(hostile)
    print(f"\n1000 hostile answers, 8 threads: slowest call {slowest:.2f} s, {most / 2**20:.0f} MiB more than before")
    assert slowest < LIMIT
    assert most < 2 << 30
    assert [result.equal for result in ordinary_results()] == [True, False, True, False]
    assert all(worker._process is None or worker._process.poll() is None for worker in _workers)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_random_model_outputs() -> None:
    slowest = max(slowest_call(text) for text in model_outputs(10_000, seed=2))
    print(f"\n10000 random model outputs: slowest call {slowest:.2f} s")
    assert slowest < LIMIT
