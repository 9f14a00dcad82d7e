"""The grader on labelled answers: 1 100 pairs, 110 of them hostile or empty, and 260 replies in prose."""

import threading
from collections import Counter

from tasks.grading import Equality, choose_option, equal


def compare(a: str, b: str) -> Equality:
    """The result of a comparison, repeated if a busy machine left the workers no time."""
    for _ in range(10):
        result = equal(a, b)
        if result.reason != "algebra: busy time-out":
            break
    return result


def test_there_are_enough_labelled_pairs(pairs) -> None:  # type: ignore[no-untyped-def]
    kinds = Counter(pair.kind for pair in pairs)
    assert len(pairs) >= 1000
    assert kinds["hostile"] + kinds["nothing"] >= 80
    assert len({(pair.a, pair.b) for pair in pairs}) == len(pairs)


def test_labelled_pairs_get_their_label_in_either_order(pairs) -> None:  # type: ignore[no-untyped-def]
    assert [pair for pair in pairs if compare(pair.a, pair.b).equal != pair.equal] == []
    assert [pair for pair in pairs if compare(pair.b, pair.a).equal != pair.equal] == []


def test_eight_threads_get_the_same_labels(pairs, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tasks.grading.symbolic._outcomes", {})
    wrong: list[object] = []

    def grade(part: int) -> None:
        wrong.extend(pair for pair in pairs[part::8] if compare(pair.b, pair.a).equal != pair.equal)

    threads = [threading.Thread(target=grade, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_prose_gets_its_letter_and_never_another(prose) -> None:  # type: ignore[no-untyped-def]
    chosen = [(reply, choose_option(reply.text, reply.options)) for reply in prose]
    assert [reply for reply, letter in chosen if letter not in (reply.letter, None)] == []
    assert sum(letter == reply.letter for reply, letter in chosen) >= 0.98 * len(prose)


def test_prose_in_lower_case_never_gets_a_wrong_letter(prose) -> None:  # type: ignore[no-untyped-def]
    chosen = [(reply, choose_option(reply.text.lower(), reply.options)) for reply in prose]
    assert [reply for reply, letter in chosen if letter not in (reply.letter, None)] == []
    assert sum(letter == reply.letter for reply, letter in chosen) >= 0.9 * len(prose)
