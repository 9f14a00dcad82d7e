"""A Prefect server on PostgreSQL, as `infra/compose.yaml` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.server.server import end_process, free_port, local_url, start_process, version_at, wait_for_server
from tests.ui.conftest import ROOT

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


def test_a_server_on_postgresql_accepts_everything_deploy_registers(postgres: str, tmp_path: Path) -> None:
    port = free_port()
    home = {"PREFECT_HOME": str(tmp_path)}
    environment = {**home, "PREFECT_API_DATABASE_CONNECTION_URL": postgres, "PREFECT_API_URL": ""}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = start_process(command, environment)
    try:
        wait_for_server(local_url(port), server)
        assert version_at(local_url(port)) == "3.7.7"
        client = {**os.environ, **home, "PREFECT_API_URL": local_url(port), "PYTHONPATH": str(ROOT)}
        for _ in range(2):  # the second one updates what the first has registered
            subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=client, check=True, timeout=300)
        template = ROOT / "infra" / "kubernetes" / "base-job-template.json"
        pool = ["work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", str(template)]
        subprocess.run([sys.executable, "-m", "prefect", *pool], env=client, check=True, timeout=120)
    finally:
        end_process(server)
    assert not list(tmp_path.glob("*.db"))
