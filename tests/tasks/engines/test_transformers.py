"""The transformers engine: adapters, several processes, and clear errors."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engines import VLLM, EngineConfig, Scripted, Transformers
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.protocol import Engine
from tasks.engines.request import Adapter, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_fields


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[Engine]:
    engine = Transformers(device="cpu").open(str(model_folder), OWN_LIMITS)
    yield engine
    engine.close()


def requests_for(pictures: list[Picture], adapter: Adapter | None, n: int = 3) -> list[Request]:
    return [
        Request(Prompt(f"How many {i}?"), picture, adapter, Sampling(16), n, seed=i)
        for i, picture in enumerate([*pictures, None])
    ]


def test_later_completions_continue_the_numbers_of_earlier_ones(engine: Engine, pictures: list[Picture]) -> None:
    begun = requests_for(pictures, None, n=2)
    later = [dataclasses.replace(request, n=1, first=2) for request in begun]
    whole = engine.generate(requests_for(pictures, None, n=3))
    assert [a + b for a, b in zip(engine.generate(begun), engine.generate(later), strict=True)] == whole


def test_an_adapter_changes_the_output_and_none_gives_the_base(
    engine: Engine, pictures: list[Picture], adapter: Adapter, other_adapter: Adapter
) -> None:
    base = engine.generate(requests_for(pictures, None))
    trained = engine.generate(requests_for(pictures, adapter))
    other = engine.generate(requests_for(pictures, other_adapter))
    assert base != trained != other != base
    assert engine.generate(requests_for(pictures, None)) == base


def test_adapters_may_be_mixed_in_one_call(
    engine: Engine, pictures: list[Picture], adapter: Adapter, other_adapter: Adapter
) -> None:
    roles = (None, adapter, other_adapter)
    mixed = [requests_for(pictures, role)[i] for i in range(5) for role in roles]
    alone = [engine.generate(requests_for(pictures, role))[i] for i in range(5) for role in roles]
    assert engine.generate(mixed) == alone


def test_workers_give_the_completions_of_one_process(
    engine: Engine, model_folder: Path, pictures: list[Picture], adapter: Adapter
) -> None:
    requests = [*requests_for(pictures, None), *requests_for(pictures, adapter)]
    seen: list[int] = []
    several = Transformers(device="cpu", workers=2).open(str(model_folder), OWN_LIMITS)
    try:
        assert several.generate(requests, seen.append) == engine.generate(requests)
        assert sum(seen) == 30
        worst = Adapter("missing", model_folder / "nothing")
        with pytest.raises(UserError, match=r"nothing lacks adapter_config\.json"):
            several.generate(requests_for(pictures, worst))
    finally:
        several.close()


def test_a_dead_worker_is_an_error_that_names_it(model_folder: Path, pictures: list[Picture]) -> None:
    from tasks.engines.workers import WorkerDied, WorkerEngine

    several = Transformers(device="cpu", workers=2).open(str(model_folder), OWN_LIMITS)
    assert isinstance(several, WorkerEngine)
    victim = several._workers[1].process
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=rf"engine worker 1 \(process {victim.pid}\) died with exit code -9"):
        several.generate(requests_for(pictures, None))
    assert not any(worker.process.is_alive() for worker in several._workers)


@pytest.mark.parametrize(
    ("gone", "named"),
    [("model.safetensors", "weights"), ("config.json", "config.json"), ("tokenizer.json", "tokenizer")],
)
def test_an_incomplete_model_folder_is_named_with_its_missing_file(
    model_folder: Path, tmp_path: Path, gone: str, named: str
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "broken"))
    (folder / gone).unlink()
    with pytest.raises(UserError, match=rf"{folder} lacks .*{named}"):
        Transformers().open(str(folder), OWN_LIMITS)


def test_a_missing_model_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        Transformers(workers=2).open(str(tmp_path / "nothing"), OWN_LIMITS)


def test_a_model_is_checked_before_torch_is_imported() -> None:
    code = (
        "import sys; from tasks.engines import Transformers; from tasks.engines.pictures import OWN_LIMITS\n"
        "try: Transformers().open('/nothing/here', OWN_LIMITS)\n"
        "except Exception as error: print(error)\n"
        "print('torch' in sys.modules, 'vllm' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[0].startswith("no model folder at /nothing/here")
    assert run.stdout.splitlines()[1] == "False False"


def test_resources_do_not_affect_fingerprint() -> None:
    plain, elsewhere = Transformers(), Transformers(device="cuda", workers=8, threads=4, rows=64, vision_cache=9)
    assert fingerprint_fields(plain) == fingerprint_fields(elsewhere)
    assert fingerprint_fields(plain) != fingerprint_fields(Transformers(dtype="bfloat16"))


@pytest.mark.parametrize(
    ("config", "needs_gpu", "model_copies"),
    [
        (Transformers(), False, 1),
        (Transformers(device="cuda"), True, 1),
        (Transformers(workers=3), False, 3),
        (VLLM(), True, 1),
        (Scripted(), False, 0),
    ],
)
def test_an_engine_reports_the_gpu_and_the_memory_that_it_needs(
    config: EngineConfig, needs_gpu: bool, model_copies: int
) -> None:
    assert (config.needs_gpu, config.model_copies) == (needs_gpu, model_copies)


def test_text_leaves_out_the_end_token(engine: Engine, pictures: list[Picture]) -> None:
    request = Request(Prompt("How many?"), pictures[0], None, Sampling(60, temperature=1.5), n=40)
    (completions,) = engine.generate([request])
    assert {completion.finished for completion in completions} == {True, False}
    assert not any("<|im_end|>" in completion.text for completion in completions)
    assert all(completion.tokens == 60 for completion in completions if not completion.finished)
