# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import threading
from http.server import ThreadingHTTPServer

import pytest
from file_server import Handler

from ca2st_mm.zoo import download
from ca2st_mm.zoo.cache import Cache


@pytest.fixture
def server():
    """The server: put files into ``files``, read requests from ``asked``."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.asked = {}, []
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(
        target=server.serve_forever, kwargs=dict(poll_interval=0.01)
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch):
    """No pauses, small pieces, no settings of whoever runs the tests."""
    monkeypatch.setattr(download, 'PAUSE', 0)
    monkeypatch.setattr(download, 'CHUNK', 500)
    for name in ('CA2ST_MM_OFFLINE', 'HF_ENDPOINT', 'HF_TOKEN'):
        monkeypatch.delenv(name, raising=False)
    for name in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache folder that does not exist yet."""
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path / 'weights'))
    return tmp_path / 'weights'


@pytest.fixture
def cache(home):
    return Cache(home)
