# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A download goes on where it was cut, and never mixes two files."""

import pytest
import requests
from file_server import BODY, Served

from ca2st_mm.zoo import download as module
from ca2st_mm.zoo.download import ATTEMPTS, discard, download
from ca2st_mm.zoo.errors import DownloadError

OTHER = BODY[::-1]


@pytest.fixture
def part(tmp_path):
    return tmp_path / 'file.pth.part'


def ranges_asked(server):
    return [headers.get('Range') for _, headers in server.asked]


def test_whole_file_arrives(server, part):
    server.files['/file.pth'] = Served()
    assert download(f'{server.url}/file.pth', part, 'x') is None
    assert part.read_bytes() == BODY


def test_goes_on_after_a_cut(server, part):
    server.files['/file.pth'] = Served(cut=[1000, 2000])
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY
    assert ranges_asked(server) == [None, 'bytes=1000-', 'bytes=3000-']


def test_goes_on_in_a_later_call(server, part):
    server.files['/file.pth'] = Served(cut=[1000] * ATTEMPTS)
    with pytest.raises(DownloadError, match=f'broke, {ATTEMPTS} times'):
        download(f'{server.url}/file.pth', part, 'x')
    assert part.stat().st_size == 1000 * ATTEMPTS
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY
    assert ranges_asked(server)[-1] == f'bytes={1000 * ATTEMPTS}-'


def test_starts_again_if_the_file_has_changed(server, part):
    server.files['/file.pth'] = Served(cut=[1000] * ATTEMPTS)
    with pytest.raises(DownloadError):
        download(f'{server.url}/file.pth', part, 'x')
    server.files['/file.pth'] = Served(OTHER, etag='"second"')
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == OTHER


@pytest.mark.parametrize('etag', [None, 'W/"weak"'])
def test_starts_again_if_nothing_tells_versions_apart(server, part, etag):
    server.files['/file.pth'] = Served(etag=etag, cut=[1000])
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY
    assert ranges_asked(server) == [None, None]


def test_starts_again_at_a_server_without_ranges(server, part):
    server.files['/file.pth'] = Served(ranges=False, cut=[1000])
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY
    assert ranges_asked(server) == [None, 'bytes=1000-']


def test_starts_again_at_another_address(server, part):
    server.files['/file.pth'] = Served(cut=[1000] * ATTEMPTS)
    server.files['/mirror/file.pth'] = Served(OTHER)
    with pytest.raises(DownloadError):
        download(f'{server.url}/file.pth', part, 'x')
    download(f'{server.url}/mirror/file.pth', part, 'x')
    assert part.read_bytes() == OTHER


def test_complete_part_is_not_fetched_again(server, part):
    server.files['/file.pth'] = Served()
    download(f'{server.url}/file.pth', part, 'x')
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY
    assert ranges_asked(server) == [None, f'bytes={len(BODY)}-']


def test_part_that_is_too_long_starts_again(server, part):
    server.files['/file.pth'] = Served()
    download(f'{server.url}/file.pth', part, 'x')
    part.write_bytes(BODY + b'more')
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY


def test_part_without_its_memo_starts_again(server, part):
    server.files['/file.pth'] = Served()
    part.write_bytes(OTHER[:1000])
    download(f'{server.url}/file.pth', part, 'x')
    assert part.read_bytes() == BODY


def test_refusal_is_not_repeated_but_a_busy_server_is(server, part):
    with pytest.raises(DownloadError, match='^404 Not Found$'):
        download(f'{server.url}/file.pth', part, 'x')
    assert len(server.asked) == 1
    server.files['/file.pth'] = Served(status=503)
    with pytest.raises(DownloadError, match=f'503 .*, {ATTEMPTS} times'):
        download(f'{server.url}/file.pth', part, 'x')
    assert len(server.asked) == 1 + ATTEMPTS


def test_closed_door_names_the_token(server, part):
    server.files['/file.pth'] = Served(status=401)
    with pytest.raises(DownloadError, match='401 .*set HF_TOKEN'):
        download(f'{server.url}/file.pth', part, 'x')


@pytest.mark.parametrize(
    'error, words',
    [
        (requests.ConnectTimeout, 'no connection within 10 s'),
        (requests.ReadTimeout, 'no answer within 60 s'),
        (requests.ConnectionError, 'no connection'),
        (requests.exceptions.SSLError, 'certificate'),
        (requests.TooManyRedirects, 'TooManyRedirects'),
    ],
)
def test_network_faults_are_said_in_words(monkeypatch, part, error, words):
    timeouts = []

    def fail(*args, timeout, **kwargs):
        timeouts.append(timeout)
        raise error('inner details')

    monkeypatch.setattr(module.requests, 'get', fail)
    with pytest.raises(DownloadError, match=words):
        download('http://127.0.0.1/file.pth', part, 'x')
    assert set(timeouts) == {module.TIMEOUT}


def test_discard_leaves_nothing(server, part):
    server.files['/file.pth'] = Served()
    download(f'{server.url}/file.pth', part, 'x')
    discard(part)
    discard(part)
    assert list(part.parent.iterdir()) == []


def test_quiet_when_not_in_a_terminal(server, part, capfd):
    server.files['/file.pth'] = Served()
    download(f'{server.url}/file.pth', part, 'x')
    assert capfd.readouterr() == ('', '')
