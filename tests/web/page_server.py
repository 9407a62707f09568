# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips for the page, and a server on a port of its own."""

import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from ca2st_mm.datasets.media_writer import write_clip

for package in ('starlette', 'uvicorn'):
    pytest.importorskip(
        package, reason='the page needs pip install -r requirements/web.txt'
    )

import uvicorn  # noqa: E402

MAX_BYTES = 3_000_000


def write_long(path, seconds, rate=16000):
    """A clip of blocks that change, with noise to hear, at 8 fps."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (round(8 * seconds), 4, 4, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    sound = None
    if rate:
        sound = 0.1 * rng.standard_normal(round(seconds * rate))
    write_clip(str(path), frames, 8, sound, rate or 16000)
    return str(path)


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
