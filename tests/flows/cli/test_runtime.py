"""The environment of long work."""

from __future__ import annotations

import os
import subprocess
import sys


def test_hub_retries_are_not_logged() -> None:
    program = (
        "from flows.cli import runtime; runtime.prepare();"
        "from huggingface_hub.utils import logging; print(logging.get_verbosity() > logging.WARNING)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_VERBOSITY"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.strip() == "True"
