# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files, folders and addresses that a user names."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ca2st_mm.apis import inputs
from ca2st_mm.apis.inputs import InputError, fetch, local_files
from ca2st_mm.apis.many import Failure


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


class WithoutLength(Quiet):
    def send_header(self, keyword, value):
        if keyword != 'Content-Length':
            super().send_header(keyword, value)


@pytest.fixture
def serve(tmp_path):
    """Start a server of a folder; returns its address."""
    servers = []

    def start(handler=Quiet):
        handler = functools.partial(handler, directory=str(tmp_path))
        server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
        servers.append(server)
        threading.Thread(
            target=server.serve_forever, kwargs=dict(poll_interval=0.01)
        ).start()
        return f'http://127.0.0.1:{server.server_port}'

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_folders_are_listed_by_name_at_any_depth(tmp_path):
    (tmp_path / 'sub').mkdir()
    for name in ('b.mp4', 'sub/a.MKV', 'notes.txt'):
        (tmp_path / name).write_bytes(b'')
    found = [path for _, path in local_files([str(tmp_path)], '')]
    assert [Path(path).name for path in found] == ['b.mp4', 'a.MKV']


def test_what_is_not_there_stops_no_other(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    file = tmp_path / 'a.mp4'
    file.write_bytes(b'')
    gone, nothing, there = local_files(
        [str(tmp_path / 'gone.mp4'), str(empty), str(file)], ''
    )
    assert isinstance(gone, Failure) and 'no such file' in gone.reason
    assert isinstance(nothing, Failure) and 'no video' in nothing.reason
    assert there == (str(file), str(file))


def test_an_address_is_fetched_under_its_own_name(serve, tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'12345')
    target = tmp_path / 'fetched'
    target.mkdir()
    address = f'{serve()}/a.mp4?token=1'
    again = f'{serve()}/a.mp4'
    files = list(local_files([address, again], str(target)))
    assert [name for name, _ in files] == [address, again]
    assert len({path for _, path in files}) == 2
    for _, path in files:
        assert Path(path).read_bytes() == b'12345'
        assert path.endswith('.mp4')


@pytest.mark.parametrize('handler', [Quiet, WithoutLength])
def test_a_file_that_is_too_large_is_not_kept_on(serve, tmp_path, handler):
    (tmp_path / 'a.mp4').write_bytes(bytes(3000))
    address = f'{serve(handler)}/a.mp4'
    with pytest.raises(InputError, match='larger than'):
        fetch(address, str(tmp_path), max_bytes=2999)
    assert fetch(address, str(tmp_path), max_bytes=3000)


def test_addresses_that_fail_say_why(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, '_TIMEOUT', (2, 2))
    names = [f'{serve()}/gone.mp4', 'http://127.0.0.1:9/a.mp4', 'http://']
    reasons = [answer.reason for answer in local_files(names, str(tmp_path))]
    assert '404' in reasons[0]
    assert all('cannot be fetched' in reason for reason in reasons[1:])
