# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files, folders and URLs that a user names, one after the other."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ca2st_mm.apis import many_files
from ca2st_mm.apis.many_files import (
    InputError,
    count_files,
    fetch,
    find_jobs,
    predict_each,
)
from ca2st_mm.apis.prediction import Failure, Prediction


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


class WithoutLength(Quiet):
    def send_header(self, keyword, value):
        if keyword != 'Content-Length':
            super().send_header(keyword, value)


@pytest.fixture
def serve(tmp_path):
    """Start a server of a folder; returns its URL."""
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


@pytest.fixture
def fetched(tmp_path):
    """Where fetched files go."""
    folder = tmp_path / 'fetched'
    folder.mkdir()
    return folder


def test_folders_are_listed_by_name_at_any_depth(tmp_path):
    (tmp_path / 'sub').mkdir()
    for name in ('b.mp4', 'sub/a.MKV', 'notes.txt'):
        (tmp_path / name).write_bytes(b'')
    found = [job.source for job in find_jobs([str(tmp_path)], '')]
    assert [Path(path).name for path in found] == ['b.mp4', 'a.MKV']


def test_what_is_not_there_stops_no_other(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    file = tmp_path / 'a.mp4'
    file.write_bytes(b'')
    gone, nothing, there = find_jobs(
        [str(tmp_path / 'gone.mp4'), str(empty), str(file)], ''
    )
    assert count_files([str(tmp_path), str(file)]) == 2
    assert isinstance(gone, Failure) and 'no such file' in gone.reason
    assert isinstance(nothing, Failure) and 'no video' in nothing.reason
    assert there.source == there.shown['source'] == str(file)


def test_a_url_is_fetched_when_its_turn_comes(serve, tmp_path, fetched):
    for name in ('a.mp4', 'b.mp4'):
        (tmp_path / name).write_bytes(name.encode())
    urls = [f'{serve()}/a.mp4?token=1', f'{serve()}/b.mp4']
    jobs = find_jobs(urls, str(fetched))
    for url, content in zip(urls, (b'a.mp4', b'b.mp4'), strict=True):
        job = next(jobs)
        assert job.shown['source'] == url and job.source.endswith('.mp4')
        assert os.listdir(fetched) == [os.path.basename(job.source)]
        assert Path(job.source).read_bytes() == content


def test_windows_open_a_file_when_its_turn_comes(clips, monkeypatch):
    opened = []

    class Watched(many_files.Windows):
        def __init__(self, path, *args):
            opened.append(path)
            super().__init__(path, *args)

    monkeypatch.setattr(many_files, 'Windows', Watched)
    next(find_jobs(clips[:3], '', window=60))
    assert opened == clips[:1]


def test_fetched_clips_are_predicted_in_batches(
    serve, recognizer, clips, tmp_path, fetched
):
    for name, path in zip('ab', clips, strict=False):
        (tmp_path / f'{name}.mp4').write_bytes(Path(path).read_bytes())
    urls = [f'{serve()}/{name}.mp4' for name in 'axb']
    found = list(
        predict_each(recognizer, find_jobs(urls, str(fetched)), batch_size=2)
    )
    assert [answer.source for answer in found] == [urls[n] for n in (1, 0, 2)]
    assert [type(answer) for answer in found] == [
        Failure,
        Prediction,
        Prediction,
    ]
    assert os.listdir(fetched) == []


@pytest.mark.parametrize('handler', [Quiet, WithoutLength])
def test_a_file_that_is_too_large_is_refused(
    serve, tmp_path, fetched, handler
):
    (tmp_path / 'a.mp4').write_bytes(bytes(3000))
    url = f'{serve(handler)}/a.mp4'
    with pytest.raises(InputError, match='larger than'):
        fetch(url, str(fetched), max_bytes=2999)
    assert os.listdir(fetched) == []
    assert fetch(url, str(fetched), max_bytes=3000)


def test_urls_that_fail_say_why(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(many_files, '_TIMEOUT', (2, 2))
    names = [f'{serve()}/gone.mp4', 'http://127.0.0.1:9/a.mp4', 'http://']
    reasons = [answer.reason for answer in find_jobs(names, str(tmp_path))]
    assert '404' in reasons[0]
    assert all('cannot be fetched' in reason for reason in reasons[1:])
