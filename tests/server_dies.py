"""`python -m tests.server_dies`: kill the Prefect server in the middle of `corpus build`, and see how the command ends.

It must end with exit code 0 in the time that its own work takes plus 10 s, with one warning.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.server.server import free_port, start_process, wait_for_server
from tests.fixtures.shards import sample, write_shard

SHARDS, PICTURES = 12, 60
MARGIN = 10.0


def main() -> None:
    """Build the same shards twice: with a server that stays, and with one that is killed or stopped (`--mute`)."""
    stop = signal.SIGSTOP if "--mute" in sys.argv else signal.SIGKILL
    with TemporaryDirectory() as name:
        folder = Path(name)
        for shard in range(SHARDS):
            members = [member for n in range(PICTURES) for member in sample(f"{shard}-{n}", shard * PICTURES + n, "x")]
            write_shard(folder / "shards", f"{shard:05d}", members)
        _, alone = build(folder, "first", None)
        ended, seconds = build(folder, "second", stop)
    warnings = [line for line in ended.stderr.splitlines() if "without the Prefect server" in line]
    print(f"own work {alone:.1f} s; server gone in mid-build {seconds:.1f} s, exit {ended.returncode}")
    print(f"{len(warnings)} warning: {' '.join(warnings)}")
    if ended.returncode or len(warnings) != 1 or seconds > alone + MARGIN:
        sys.exit(ended.stderr)


def build(folder: Path, out: str, stop: int | None) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run `corpus build` against a server of its own; the command's end, and its seconds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {"PREFECT_HOME": str(folder / f"prefect-{out}"), "PREFECT_API_URL": url}
    server = start_process(
        [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--port", str(port)],
        {**environment, "PREFECT_UI_ENABLED": "0"},
    )
    try:
        wait_for_server(url, server)
        command = [sys.executable, "-m", "flows.cli", "corpus", "build", str(folder / "shards")]
        started = time.monotonic()
        process = subprocess.Popen(
            [*command, "--out", str(folder / out / "corpora" / "x")],
            env={**os.environ, **environment, "XDG_CACHE_HOME": str(folder / "cache")},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        if stop is not None:
            wait_for_shards(folder / out, process)
            server.send_signal(stop)
        _, errors = process.communicate(timeout=900)
        return subprocess.CompletedProcess(command, process.returncode, "", errors), time.monotonic() - started
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


def wait_for_shards(store: Path, process: subprocess.Popen[str]) -> None:
    """Return once two shards are embedded, or the command has ended."""
    while process.poll() is None and len(list(store.glob("corpora/x/parts/*/embeddings"))) < 2:
        time.sleep(0.2)


if __name__ == "__main__":
    main()
