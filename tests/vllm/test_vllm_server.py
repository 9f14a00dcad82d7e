"""Servers that run: greedy replies of `vllm serve` through the server engine are those of the vLLM in this process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.engines import Server
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Adapter, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.small_vllm import NEEDS_VLLM, SMALL
from tests.fixtures.tiny_vlm import tiny_picture

pytestmark = [*NEEDS_VLLM, pytest.mark.timeout(900)]

FLAGS = [
    "--dtype", "float32", "--max-model-len", "512", "--max-lora-rank", "8", "--enforce-eager", "--enable-lora",
    "--no-enable-chunked-prefill", "--gpu-memory-utilization", "0.3", "--max-num-seqs", "256", "--max-loras", "4",
]  # fmt: skip


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """vLLM's server on a port, once it is ready. `vllm serve` asks for a package `vllm`: not the CPU build."""
    module = "vllm.entrypoints.openai.api_server"
    command = [sys.executable, "-m", module, "--model", str(folder), "--port", str(port), *FLAGS]
    environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 300
        while not ready(url):
            assert process.poll() is None and time.monotonic() < end, "the server does not start"
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def requests_for(adapter: Adapter) -> list[Request]:
    pictures = [Picture(f"p{i}", tiny_picture(i, *size)) for i, size in enumerate([(112, 112), (120, 60)])]
    return [
        Request(Prompt(f"How many {i}?"), picture, role, Sampling(8, temperature=temperature), n=n, seed=i)
        for temperature, n in ((0.0, 1), (1.0, 3))
        for role in (None, adapter)
        for i, picture in enumerate([*pictures, None])
    ]


def test_replies_of_a_server_are_those_of_vllm_here(folder: Path, adapter: Adapter) -> None:
    """Greedy and sampled, with and without picture and adapter; also after the server was started again."""
    requests, port = requests_for(adapter), free_port()
    here = SMALL.open(str(folder), OWN_LIMITS)
    expected = here.generate(requests)
    here.close()
    with served(folder, port) as url:
        engine = Server(urls=(url,), deadline=300).open(str(folder), OWN_LIMITS)
        assert engine.generate(requests) == expected
    with served(folder, port):
        assert engine.generate(requests) == expected
    engine.close()
