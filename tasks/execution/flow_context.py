"""Whether code runs in a Prefect flow run or task run, and the log of the flow run. None of it imports Prefect."""

from __future__ import annotations

import logging
import sys
from typing import Any


def in_flow_run() -> bool:
    """Whether a Prefect flow is running here. This does not import Prefect."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def in_task_run() -> bool:
    """Whether a Prefect task is running here. This does not import Prefect."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import TaskRunContext

    return TaskRunContext.get() is not None


def run_log() -> Any:
    """The flow run's logger, so that the UI shows the lines; outside a flow run the module's logger."""
    if "prefect" in sys.modules:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            return get_run_logger()
        except MissingContextError:
            pass
    return logging.getLogger(__name__)
