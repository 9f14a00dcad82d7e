"""A model is on its device while anyone uses it, and at no other time."""

from __future__ import annotations

from threading import Barrier, Thread

from tasks.execution.device import Visitor


class Model:
    def __init__(self) -> None:
        self.moves = list[str]()

    def to(self, device: str) -> None:
        self.moves.append(device)


def test_the_last_user_sends_the_model_back() -> None:
    model = Model()
    visitor, together = Visitor(model, "meta"), Barrier(3)

    def use() -> None:
        with visitor.visit():
            together.wait()

    threads = [Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.moves == ["meta", "cpu"]


def test_an_error_sends_it_back_too() -> None:
    model = Model()
    visitor = Visitor(model, "meta")
    try:
        with visitor.visit():
            raise ValueError
    except ValueError:
        pass
    assert model.moves == ["meta", "cpu"]
