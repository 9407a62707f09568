# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A server for the page, on a port of its own."""

import socket
import threading
from contextlib import contextmanager

import pytest

for package in ('starlette', 'uvicorn'):
    pytest.importorskip(
        package, reason='the page needs pip install -r requirements/web.txt'
    )

import uvicorn  # noqa: E402

MAX_BYTES = 3_000_000


@contextmanager
def served(app):
    """Serve an app in a thread; its address."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level='error',
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    with socket.create_server(('127.0.0.1', 0)) as port:
        thread = threading.Thread(target=server.run, args=([port],))
        thread.start()
        try:
            yield f'http://127.0.0.1:{port.getsockname()[1]}'
        finally:
            server.should_exit = True
            thread.join()
