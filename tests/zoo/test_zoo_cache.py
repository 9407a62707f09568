# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What lies in the cache folder is recognised by its hash."""

import json

import pytest
from file_server import BODY, entry, sha256, source

from ca2st_mm.zoo import ZooError, hash_index
from ca2st_mm.zoo.cache import Cache, default_home
from ca2st_mm.zoo.verifying import verify_entry

OTHER = BODY[::-1]
KNOWN = entry(source('https://x.org/a.pth', sha256()))
UNKNOWN = entry(source('https://x.org/a.pth'))


def put(path, body=BODY):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are really read."""
    names, real = [], hash_index.sha256_of

    def hash_file(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(hash_index, 'sha256_of', hash_file)
    return names


@pytest.mark.parametrize('name', ['mine.bin', 'clip_tiny/b', 'some/deep/x.pt'])
def test_file_by_hand_is_found_under_any_name(cache, home, name):
    path = put(home / name)
    put(home / 'aaa.pth', OTHER)
    assert cache.locate(KNOWN).path == path


def test_partial_files_and_notes_are_no_weights(cache, home):
    put(home / 'clip_tiny' / 'a.pth.part')
    put(home / 'clip_tiny' / 'fetch.lock')
    put(home / 'clip_tiny' / 'a.pth.part.json')
    assert cache.locate(KNOWN) is None


def test_a_better_source_comes_first(cache, home):
    both = entry(
        source('https://x.org/a.pth', sha256()),
        source('https://x.org/b.pth', sha256(OTHER)),
    )
    second = put(home / 'clip_tiny' / 'b.pth', OTHER)
    assert cache.locate(both).path == second
    first = put(home / 'clip_tiny' / 'a.pth')
    assert cache.locate(both) == (first, both.sources[0])


def test_big_files_are_hashed_once(home, hashed):
    put(home / 'mine.bin')
    put(home / 'aaa.bin', OTHER)
    for _ in range(3):
        assert Cache(home).locate(KNOWN)
    assert hashed == ['aaa.bin', 'mine.bin']


def test_changed_file_is_hashed_again(home, hashed):
    path = put(home / 'mine.bin')
    assert Cache(home).locate(KNOWN)
    path.write_bytes(OTHER)
    assert Cache(home).locate(KNOWN) is None
    assert hashed == ['mine.bin', 'mine.bin']


def test_size_spares_the_hashing(cache, home, hashed):
    put(home / 'mine.bin', BODY + b'more')
    sized = entry(source('https://x.org/a.pth', sha256(), len(BODY)))
    assert cache.locate(sized) is None
    assert hashed == []


def test_file_at_the_place_of_an_unknown_hash_is_trusted(home, caplog):
    place = put(home / 'clip_tiny' / 'a.pth')
    assert Cache(home).locate(UNKNOWN).path == place
    assert 'trusted from now on' in caplog.text
    place.write_bytes(OTHER)
    assert Cache(home).locate(UNKNOWN) is None


def test_unknown_hash_is_not_guessed_from_elsewhere(cache, home):
    put(home / 'mine.bin')
    assert cache.locate(UNKNOWN) is None


def test_damaged_record_is_told(cache, home):
    put(home / 'clip_tiny' / 'a.pth')
    put(home / 'index.json', b'{"files": 3')
    with pytest.raises(ZooError, match=r'index\.json is damaged.*delete it'):
        cache.locate(KNOWN)


def test_record_keeps_what_others_wrote(home):
    one, two = Cache(home), Cache(home)
    one.hashes.rehash(put(home / 'one.bin'))
    two.hashes.rehash(put(home / 'two.bin'))
    record = json.loads((home / 'index.json').read_text())
    assert set(record['files']) == {'one.bin', 'two.bin'}


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv('CA2ST_MM_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert default_home() == tmp_path / '.cache/ca2st_mm/weights'


def verdicts(cache, checked):
    return [verdict.problem for verdict in verify_entry(checked, cache)]


@pytest.mark.parametrize('name', ['clip_tiny/a.pth', 'mine.bin'])
def test_verify_reads_every_byte(cache, home, name):
    path = put(home / name)
    assert verdicts(cache, KNOWN) == [None]
    stat = path.stat()
    path.write_bytes(OTHER)
    # A worn-out disk changes bytes, not times.
    hash_index.os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.locate(KNOWN)
    (problem,) = verdicts(cache, KNOWN)
    assert sha256(OTHER) in problem


def test_verify_compares_with_the_trusted_hash(cache, home):
    place = put(home / 'clip_tiny' / 'a.pth')
    assert verdicts(cache, UNKNOWN) == [None]
    place.write_bytes(OTHER)
    (problem,) = verdicts(cache, UNKNOWN)
    assert f'instead of {sha256()}' in problem


def test_verify_of_nothing(cache):
    assert verdicts(cache, KNOWN) == []
