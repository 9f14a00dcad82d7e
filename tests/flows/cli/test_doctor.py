from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.doctor_engine import compiler, device, gpus, lengths
from flows.cli.doctor_machine import locked
from flows.cli.doctor_memory import memory_plan, model_shape
from flows.cli.doctor_settings import benchmarks, corpus, gold_items
from flows.cli.main import FAILURE, USER, command
from tasks.config import load_config
from tasks.memory.cards import Cluster, card_named
from tasks.memory.shape import published
from tasks.store import Store
from tests.fixtures.command_line import contents
from tests.fixtures.shards import sample, write_shard


def one(card: str) -> Cluster:
    return Cluster(card_named(card))


def test_a_doctor_prints_what_is_wrong_and_what_to_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(store)
    assert command(["doctor", "--json", "--set", "model=/nowhere/at/all"]) == FAILURE
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["store"]["state"] == "pass"
    assert checks["model"]["state"] == "fail"
    assert "/nowhere/at/all" in checks["model"]["told"]
    assert checks["corpus"]["state"] == "pass"
    assert checks["memory plan"]["state"] == "fail"
    assert {"port", "prefect server", "device"} <= set(checks)
    assert contents(store) == before


def test_a_doctor_looks_for_the_shards_and_benchmarks_of_a_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("qwen2.5-vl-7b")
    shards_check, benchmarks_check = corpus(config, store), benchmarks(config)
    assert (shards_check.state, benchmarks_check.state) == ("fail", "fail")
    assert "there is no folder data/laion" in shards_check.message and "set corpus.source" in shards_check.message
    assert "put VLMEvalKit's MathVista_MINI.tsv into benchmarks" in benchmarks_check.message
    assert "Also missing: mathverse, logicvista, mmstar." in benchmarks_check.message
    shards = write_shard(tmp_path / "shards", "00000", sample("a", 1)).parent
    existing = load_config("qwen2.5-vl-7b", [f"corpus.source.shards={shards}"])
    assert corpus(existing, store).message.endswith("will be built in the first round from 1 shards")
    assert benchmarks(load_config()).state == "pass"


def test_a_doctor_leaves_no_store_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "new"))
    command(["doctor"])
    assert "pass  store: " in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_a_doctor_names_a_configured_server_that_is_silent(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert command(["doctor", "--json"]) == FAILURE
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["prefect server"]["state"] == "fail"
    assert "http://127.0.0.1:1/api" in checks["prefect server"]["told"]


def test_a_named_card_is_planned_without_the_model(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command(["doctor", "--config", "qwen2.5-vl-7b", "--gpu", "h100-80", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    plan = checks["memory plan"]
    assert plan["state"] == "pass"
    assert "train-questioner takes most" in plan["told"] and "weights 30.9 + adapters" in plan["told"]
    stages = {stage["stage"]: stage for stage in plan["details"]["stages"]}
    solver = stages["train-solver"]
    parts = [value for name, value in solver.items() if isinstance(value, float) and name not in ("sum", "least")]
    assert solver["sum"] == pytest.approx(sum(parts), abs=0.01)
    assert checks["device"]["told"] == "not looked at: the memory plan is for h100-80"


def test_a_cluster_is_planned_card_by_card(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command(["doctor", "--config", "paper", "--gpus", "8", "--gpu", "h100-80", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    plan = checks["memory plan"]
    assert plan["state"] == "pass" and plan["details"]["cards"] == 8
    assert plan["details"]["stands"] == "8 ranks and 2 replicas of vllm for each model, a card each, on the same cards"
    assert {stage["on the card"] for stage in plan["details"]["stages"]} == {"engine", "engine + rank"}
    assert checks["device"]["told"] == "not looked at: the memory plan is for 8 x h100-80"
    assert "of engine.of.max_model_len=6144" in checks["prompt length"]["told"]


def test_the_table_of_a_cluster_says_what_stands_on_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command(["doctor", "--config", "paper", "--gpus", "8", "--gpu", "h100-80"])
    out = capsys.readouterr().out
    assert "Memory in GiB on each of 8 x h100-80 (79.2 GiB), at each stage's peak:" in out
    assert "(8 ranks and 2 replicas of vllm for each model, a card each, on the same cards)" in out


def test_a_number_of_cards_needs_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["doctor", "--gpus", "8"]) == USER
    assert "--gpus 8 says how many, --gpu says of which card" in capsys.readouterr().err


def test_too_few_cards_are_refused_with_what_to_set() -> None:
    check = memory_plan(load_config("paper", ["engine.replicas=4"]), Cluster(card_named("h100-80"), 8))
    assert check.state == "fail"
    told = "4 replicas for each of 3 models take 12 cards, and there are 8: set engine.replicas=2"
    assert check.message == told


def test_a_replicas_settings_have_the_names_of_the_file() -> None:
    small = load_config("paper", ["engine.of.gpu_memory_utilization=0.1"])
    check = memory_plan(small, Cluster(card_named("h100-80"), 8))
    assert "engine.of.gpu_memory_utilization=0.1 of h100-80 is 7.9 GiB: set engine.of.gpu_memory" in check.message


def test_an_unknown_card_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["doctor", "--gpu", "h100"]) == USER
    assert "--gpu h100 is no card" in capsys.readouterr().err


def test_another_family_has_no_plan(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    check = memory_plan(load_config("tiny", [f"model={tmp_path}"]), None)
    assert check.state == "warn" and "must be a Qwen2.5-VL or Qwen3-VL" in check.message


def test_a_doctor_prints_the_plan_as_a_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command(["doctor", "--gpu", "24"])
    out = capsys.readouterr().out
    assert "Memory in GiB on 24 GiB (24.0 GiB), at each stage's peak:" in out
    assert "kv cache" in out and "train-questioner" in out


def test_full_fine_tuning_is_refused_with_the_sum() -> None:
    alone = ["engine={kind: vllm, max_model_len: 6144, gpu_memory_utilization: 0.4}", "train.defaults.workers=1"]
    check = memory_plan(load_config("paper", alone), one("h100-80"))
    assert check.state == "fail" and "\n" not in check.message
    assert "takes at least" in check.message and "gradients 28.4 + adam 56.7" in check.message
    assert check.message.endswith("set 'train.defaults.lora={rank: 32, alpha: 64}'")


def test_too_small_a_share_of_the_card_is_named() -> None:
    check = memory_plan(load_config("qwen2.5-vl-7b", ["engine.gpu_memory_utilization=0.2"]), one("h100-80"))
    assert check.state == "fail"
    assert "engine.gpu_memory_utilization=0.2 of h100-80 is 15.8 GiB: set engine.gpu_memory" in check.message


def test_batches_that_are_halved_are_a_warning() -> None:
    check = memory_plan(load_config("qwen2.5-vl-3b", ["engine={kind: transformers}"]), one("a6000-48"))
    assert check.state == "warn" and "batches are halved until they fit" in check.message


def test_the_default_round_fits_here() -> None:
    check = memory_plan(load_config(), None)
    assert check.state == "pass" and model_shape(load_config().model) is not None


def test_a_round_uses_one_of_several_gpus() -> None:
    assert gpus(1, "H100", 1).message == "1 x H100"
    assert "a round uses the first one" in gpus(4, "H100", 1).message
    assert "(vLLM uses 2)" in gpus(4, "H100", 2).message
    split = gpus(1, "H100", 2)
    assert split.state == "fail" and split.message.endswith("set engine.tensor_parallel_size=1")


def test_a_missing_gpu_fails_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device(load_config("qwen2.5-vl-7b"), None).state == "fail"
    assert device(load_config(), None).state == "pass"


def test_vllm_needs_a_c_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    missing = compiler(load_config("qwen2.5-vl-7b"))
    assert missing.state == "fail" and "install gcc" in missing.message
    assert compiler(load_config()).state == "pass"
    (tmp_path / "gcc").write_text("")
    (tmp_path / "gcc").chmod(0o755)
    assert compiler(load_config("qwen2.5-vl-7b")).message == str(tmp_path / "gcc")


def test_a_sequence_must_fit_into_the_engine() -> None:
    shape = published("Qwen/Qwen2.5-VL-7B-Instruct")
    fitting = lengths(load_config("qwen2.5-vl-7b"), shape)
    assert fitting.state == "pass" and "solver: 1280 visual + " in fitting.message
    short = lengths(load_config("qwen2.5-vl-7b", ["engine.max_model_len=4096"]), shape)
    assert short.state == "warn" and "the longest are rejects: set engine.max_model_len=" in short.message
    large = lengths(load_config("qwen2.5-vl-7b", ["pictures.max_pixels=12845056"]), shape)
    assert large.state == "fail" and "16384 visual" in large.message and "pictures.max_pixels=" in large.message
    assert lengths(load_config(), shape).state == "pass"
    assert lengths(load_config("qwen2.5-vl-7b"), None).state == "warn"


def test_qwen3_has_as_many_visual_tokens_as_qwen2() -> None:
    check = lengths(load_config("qwen3-vl-8b"), published("Qwen/Qwen3-VL-8B-Instruct"))
    assert "1280 visual" in check.message


def test_gold_items_of_the_wrong_world_are_a_warning() -> None:
    wrong = gold_items(load_config("qwen2.5-vl-7b", ["filter.gold={source: world:gold}"]))
    assert wrong.state == "warn" and "world:gold holds pictures of the micro world" in wrong.message
    assert gold_items(load_config("qwen2.5-vl-7b")).state == "pass"
    assert gold_items(load_config()).state == "pass"


def test_a_lock_is_read_for_this_platform() -> None:
    lines = [
        "a-b[x]==1.2 \\",
        "    --hash=sha256:00",
        'c==3 ; sys_platform == "no-such" \\',
        'd==4.post1 ; python_version >= "3"',
    ]
    assert dict(locked("\n".join(lines))) == {"a-b": "1.2", "d": "4.post1"}
