# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import threading
from http.server import ThreadingHTTPServer

import pytest
from file_server import Handler

SETTINGS = ('CA2ST_MM_OFFLINE', 'HF_ENDPOINT', 'HF_HUB_OFFLINE', 'HF_TOKEN')
PROXIES = ('http_proxy', 'https_proxy', 'all_proxy')


@pytest.fixture
def server():
    """The server: put files into ``files``, read paths from ``asked``."""
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
def home(tmp_path, monkeypatch):
    """A cache folder that does not exist yet, and no settings of others."""
    for name in (*SETTINGS, *PROXIES, *map(str.upper, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path / 'weights'))
    return tmp_path / 'weights'
