"""The process that serves the store's pages: `active-zero ui --store-only`, and beside the Prefect server."""

from __future__ import annotations

from collections.abc import Callable

from flows.pages.app import pages_app
from flows.server.server import HOST
from flows.server.ui import check_port
from tasks.store import Store


def serve_pages(store: Store, port: int, report: Callable[[str], None]) -> None:
    """Serve the pages on loopback until Ctrl-C. UserError if the port is taken."""
    import uvicorn

    check_port(port, "--pages-port")
    report(f"Pages: http://{HOST}:{port} (store {store.url}); Ctrl-C ends it")
    uvicorn.run(pages_app(store), host=HOST, port=port, log_level="warning", access_log=False, server_header=False)
