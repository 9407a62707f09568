# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Weights are fetched once, checked, and kept; failures name the cure."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import (
    BODY,
    Served,
    entry,
    left_over,
    sha256,
    source,
)

from ca2st_mm.zoo import ZooError, download
from ca2st_mm.zoo.cache import Cache
from ca2st_mm.zoo.fetching import fetch_entry

ROOT = Path(__file__).resolve().parents[2]
FLIPPED = bytes([BODY[0] ^ 1]) + BODY[1:]


@pytest.fixture
def one(server):
    """An entry with a single source of known hash, and its served file."""
    server.files['/a.pth'] = Served()
    return entry(source(f'{server.url}/a.pth', sha256(), len(BODY)))


def test_fetches_once(server, cache, home, one):
    path = fetch_entry(one, cache, offline=False)
    assert path == home / 'clip_tiny' / 'a.pth'
    assert path.read_bytes() == BODY
    assert fetch_entry(one, Cache(home), offline=False) == path
    assert len(server.asked) == 1
    assert left_over(home) == []


def test_flipped_byte_is_refused(server, cache, home, one):
    server.files['/a.pth'].body = FLIPPED
    with pytest.raises(ZooError, match='damaged or changed file, sha256'):
        fetch_entry(one, cache, offline=False)
    assert not (home / 'clip_tiny' / 'a.pth').exists()
    assert left_over(home) == []
    server.files['/a.pth'].body = BODY
    assert fetch_entry(one, cache, offline=False).read_bytes() == BODY


def test_wrong_size_is_refused(server, cache, one):
    address = one.sources[0].address
    with pytest.raises(ZooError, match=f'{len(BODY)} bytes instead of 7'):
        fetch_entry(entry(source(address, None, 7)), cache, offline=False)


def test_empty_file_is_refused(server, cache):
    server.files['/a.pth'] = Served(b'')
    tiny = entry(source(f'{server.url}/a.pth'))
    with pytest.raises(ZooError, match='0 bytes'):
        fetch_entry(tiny, cache, offline=False)


@pytest.mark.parametrize('served', [None, Served(FLIPPED)])
def test_second_source_works_if_the_first_does_not(server, cache, served):
    server.files = {'/a.pth': served, '/b.pth': Served()}
    both = entry(
        source(f'{server.url}/a.pth', sha256()),
        source(f'{server.url}/b.pth', sha256()),
    )
    path = fetch_entry(both, cache, offline=False)
    assert (path.name, path.read_bytes()) == ('b.pth', BODY)


def test_all_failures_are_listed_with_the_manual_step(server, cache, home):
    server.files['/b.pth'] = Served(FLIPPED)
    manual = source('http://x/c.pth')._replace(address=None, how='ask Ann')
    broken = entry(
        source(f'{server.url}/a.pth'),
        source(f'{server.url}/b.pth', sha256()),
        manual,
    )
    with pytest.raises(ZooError) as caught:
        fetch_entry(broken, cache, offline=False)
    message = str(caught.value)
    assert f'{server.url}/a.pth (404 Not Found)' in message
    assert f'{server.url}/b.pth (a damaged or changed file' in message
    assert 'c.pth (no direct address known)' in message
    assert f'by hand and put it into {home / "clip_tiny"}' in message
    assert '\n' not in message


def test_entry_to_fetch_by_hand_says_how_and_where(cache, home):
    manual = source('http://x/c.pth')._replace(address=None, how='ask Ann')
    with pytest.raises(ZooError) as caught:
        fetch_entry(entry(manual), cache, offline=False)
    place = home / 'clip_tiny' / 'c.pth'
    assert f'ask Ann, and save it as {place}' in str(caught.value)
    place.write_bytes(BODY)
    assert fetch_entry(entry(manual), cache, offline=False) == place


def test_entry_without_weights_says_so(cache):
    bare = entry()._replace(config='configs/a.py')
    with pytest.raises(ZooError, match='train it with configs/a.py'):
        fetch_entry(bare, cache, offline=False)


def test_offline_asks_nobody(server, cache, home, one):
    with pytest.raises(ZooError, match='while offline.*not in the cache'):
        fetch_entry(one, cache, offline=True)
    assert server.asked == []
    assert not home.exists()
    path = fetch_entry(one, cache, offline=False)
    assert fetch_entry(one, cache, offline=True) == path


def test_damaged_file_in_the_cache_is_fetched_again(cache, home, one):
    place = home / 'clip_tiny' / 'a.pth'
    place.parent.mkdir(parents=True)
    place.write_bytes(FLIPPED)
    with pytest.raises(ZooError, match='a.pth is not it: sha256'):
        fetch_entry(one, cache, offline=True)
    assert fetch_entry(one, cache, offline=False).read_bytes() == BODY


def test_first_file_of_an_unknown_hash_is_trusted(server, home, caplog):
    server.files['/a.pth'] = Served()
    unknown = entry(source(f'{server.url}/a.pth'))
    path = fetch_entry(unknown, Cache(home), offline=False)
    assert f'{sha256()}, is trusted from now on' in caplog.text
    path.unlink()
    server.files['/a.pth'].body = FLIPPED
    with pytest.raises(ZooError, match=f'instead of {sha256()}'):
        fetch_entry(unknown, Cache(home), offline=False)
    server.files['/a.pth'].body = BODY
    caplog.clear()
    assert fetch_entry(unknown, Cache(home), offline=False) == path
    assert 'trusted' not in caplog.text


def test_beginning_of_a_hash_is_checked(server, cache):
    server.files['/a.pth'] = Served()
    address = f'{server.url}/a.pth'
    with pytest.raises(ZooError, match='instead of 01234567'):
        fetch_entry(entry(source(address, '01234567')), cache, False)
    good = entry(source(address, sha256()[:8]))
    assert fetch_entry(good, cache, False).read_bytes() == BODY


def test_hub_gets_the_token_and_its_hash_is_checked(
    server, cache, monkeypatch
):
    # The Hub sends files from another host, and the hash beforehand.
    elsewhere = server.url.replace('127.0.0.1', 'localhost')
    served = '/ann/tiny/resolve/main/model.bin'
    server.files = {served: Served(status=302), '/data': Served()}
    server.files[served].headers = {
        'Location': f'{elsewhere}/data',
        'X-Linked-ETag': f'"{sha256(FLIPPED)}"',
    }
    monkeypatch.setenv('HF_ENDPOINT', server.url + '/')
    monkeypatch.setenv('HF_TOKEN', 'secret')
    hub = entry(source('hf://ann/tiny/model.bin'))
    with pytest.raises(ZooError, match=f'instead of {sha256(FLIPPED)}'):
        fetch_entry(hub, cache, offline=False)
    server.files[served].headers['X-Linked-ETag'] = f'"{sha256()}"'
    assert fetch_entry(hub, cache, offline=False).read_bytes() == BODY
    tokens = [(path, h.get('Authorization')) for path, h in server.asked]
    assert set(tokens) == {(served, 'Bearer secret'), ('/data', None)}


def test_other_servers_do_not_get_the_token(server, cache, one, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'secret')
    fetch_entry(one, cache, offline=False)
    assert 'Authorization' not in server.asked[0][1]


def test_full_disk_is_told_and_can_be_continued(
    server, cache, home, one, monkeypatch
):
    class Full:
        """A response of which only the beginning can be written."""

        def __iter__(self):
            yield BODY[:1000]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(
            download.requests.Response,
            'iter_content',
            lambda *_: iter(Full()),
        )
        with pytest.raises(ZooError) as caught:
            fetch_entry(one, cache, offline=False)
    assert 'No space left on device; make room' in str(caught.value)
    assert 'CA2ST_MM_HOME' in str(caught.value)
    assert str(home) in str(caught.value)
    assert not (home / 'clip_tiny' / 'a.pth').exists()
    assert fetch_entry(one, cache, offline=False).read_bytes() == BODY
    assert server.asked[-1][1]['Range'] == 'bytes=1000-'


def test_read_only_folder_is_told(cache, home, one, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, 'mkdir', refuse)  # root may write anywhere
    with pytest.raises(ZooError, match='Read-only .*CA2ST_MM_HOME') as caught:
        fetch_entry(one, cache, offline=False)
    assert str(home) in str(caught.value)


def test_filled_read_only_folder_works(server, cache, home, one, monkeypatch):
    path = fetch_entry(one, cache, offline=False)
    (home / 'index.json').unlink()

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr('ca2st_mm.zoo.hash_index.FileLock', refuse)
    monkeypatch.setattr('ca2st_mm.zoo.fetching.FileLock', refuse)
    assert fetch_entry(one, Cache(home), offline=False) == path
    assert len(server.asked) == 1


# The zoo alone, without what `import ca2st_mm` imports.
CHILD = """
import sys, types
package = types.ModuleType('ca2st_mm')
package.__path__ = [sys.argv[1]]
sys.modules['ca2st_mm'] = package
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from file_server import entry, sha256, source
from ca2st_mm.zoo.cache import Cache
from ca2st_mm.zoo.fetching import fetch_entry
tiny = entry(source(sys.argv[3], sha256()))
print(fetch_entry(tiny, Cache(Path(sys.argv[4])), offline=False))
"""


def test_two_processes_download_once(server, home, one):
    server.files['/a.pth'].pause = 2  # long enough for all to be there
    address = one.sources[0].address
    folders = [str(ROOT / 'ca2st_mm'), str(Path(__file__).parent)]
    command = [sys.executable, '-c', CHILD, *folders, address, str(home)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert printed == [f'{home / "clip_tiny" / "a.pth"}\n'] * 3
    assert len(server.asked) == 1
