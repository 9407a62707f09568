# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Weights are fetched once, checked, and never taken from a wrong file."""

import json
import sys
import threading
import types
from pathlib import Path

import huggingface_hub
import pooch
import pytest
import torch
from file_server import BODY, PAGE, Served, entry, sha256, source
from huggingface_hub import errors
from safetensors.torch import save

from ca2st_mm import zoo
from ca2st_mm.checkpoints import open_checkpoint
from ca2st_mm.zoo import ZooError, catalogue

FILE = 'folder/model.bin'
HUB = f'hf://owner/name@abc/{FILE}'
INDEX = 'model.safetensors.index.json'


@pytest.fixture
def tiny(server, monkeypatch):
    """Put entries into the zoo; by default one with a good source."""

    def put(*sources):
        found = entry(*sources)
        monkeypatch.setattr(
            catalogue, '_catalogue', lambda: {found.name: found}
        )
        return found

    server.files['/w.pth'] = Served()
    put(source(f'{server.url}/w.pth', sha256(), len(BODY)))
    return put


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The Hub's library: ``answers`` by file name, then a cache of files."""
    folder = tmp_path / 'hub'
    hub = types.SimpleNamespace(folder=folder, answers={}, asked=[])

    def download(
        repo_id,
        revision,
        allow_patterns,
        force_download=0,
        local_files_only=False,
    ):
        if local_files_only and not folder.is_dir():
            raise errors.LocalEntryNotFoundError('no cache')
        if local_files_only:
            return str(folder)
        assert hub.answers, 'tries for half a minute'
        for name in allow_patterns:
            hub.asked.append((repo_id, revision, name, force_download))
            place = folder / name
            if name in hub.answers and (force_download or not place.exists()):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(hub.answers[name].pop(0))
        return str(folder)

    def repo_info(self, *_, **__):
        if not hub.answers:
            raise ConnectionError('no network')

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    monkeypatch.setattr(huggingface_hub.HfApi, 'repo_info', repo_info)
    return hub


def test_a_file_is_fetched_once_and_kept_under_its_name(tiny, server, home):
    for _ in range(2):
        path = zoo.fetch('zoo://clip_tiny')
        assert path == home / 'clip_tiny' / 'w.pth'
        assert path.read_bytes() == BODY
    assert server.asked == ['/w.pth']


@pytest.mark.parametrize(
    'fault, why',
    [
        (Served(PAGE), 'web page'),
        (Served(b''), 'an empty file'),
        (Served(b'version https://git-lfs'), 'git-lfs'),
        (Served(b'PNG'), 'another file'),
        (Served(BODY[:-1]), f'{len(BODY) - 1} bytes instead of {len(BODY)}'),
        (Served(BODY[:-1] + b'x'), 'sha256 .* instead of'),
        (Served(sent=1000), 'IncompleteRead|no connection|broken'),
        (Served(status=404), '404'),
        (Served(status=503), '503'),
    ],
)
def test_a_wrong_file_is_refused_and_locks_nothing_out(
    tiny, server, home, fault, why
):
    server.files['/w.pth'] = fault
    with pytest.raises(ZooError, match=f'/w.pth .*{why}') as caught:
        zoo.fetch('clip_tiny')
    assert 'weights get clip_tiny' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not [p for p in home.rglob('*') if p.suffix in ('.pth', '.part')]
    server.files['/w.pth'] = Served()
    assert zoo.fetch('clip_tiny').read_bytes() == BODY


def test_of_unknown_size_a_file_is_cut_short(tiny, server, home):
    tiny(source(f'{server.url}/w.pth'))
    server.files['/w.pth'] = Served(BODY[:-30])
    with pytest.raises(ZooError, match='cut short'):
        zoo.fetch('clip_tiny')


def test_the_next_source_is_tried(tiny, server):
    tiny(
        source(f'{server.url}/gone.pth'),
        source(f'{server.url}/w.pth', sha256()),
    )
    assert zoo.fetch('clip_tiny').name == 'w.pth'


def test_a_connection_that_breaks_is_no_fault_of_this_machine(
    tiny, server, monkeypatch
):
    download = pooch.HTTPDownloader.__call__

    def broken(self, url, *args):
        if 'reset' in url:
            raise ConnectionResetError(104, 'Connection reset by peer')
        return download(self, url, *args)

    monkeypatch.setattr(pooch.HTTPDownloader, '__call__', broken)
    tiny(
        source(f'{server.url}/reset.pth'),
        source(f'{server.url}/w.pth', sha256()),
    )
    assert zoo.fetch('clip_tiny').name == 'w.pth'


def test_a_file_put_there_by_hand_is_used_or_named(tiny, server, home, caplog):
    place = home / 'clip_tiny' / 'w.pth'
    place.parent.mkdir(parents=True)
    place.write_bytes(PAGE)
    with pytest.raises(ZooError, match='not on this mach'):
        zoo.fetch('clip_tiny', offline=True)
    assert str(place) in caplog.text and 'web page' in caplog.text
    place.write_bytes(BODY)
    assert zoo.fetch('clip_tiny', offline=True) == place
    assert server.asked == []


@pytest.mark.parametrize('setting', ['CA2ST_MM_OFFLINE', 'HF_HUB_OFFLINE'])
def test_offline_says_the_one_thing_to_do(tiny, server, monkeypatch, setting):
    monkeypatch.setenv(setting, '1')
    says = f'{setting} is set: run `ca2st weights get cli.*copy .*/w.pth'
    with pytest.raises(ZooError, match=says):
        zoo.fetch('clip_tiny')
    assert server.asked == []


def test_a_partial_hash_is_checked_and_none_takes_any_checkpoint(tiny, server):
    tiny(source(f'{server.url}/w.pth', sha256()[:8]))
    assert zoo.fetch('clip_tiny')
    tiny(source(f'{server.url}/w.pth', '00000000'))
    with pytest.raises(ZooError, match='instead of 00000000'):
        zoo.fetch('clip_tiny')
    tiny(source(f'{server.url}/w.pth'))
    assert zoo.fetch('clip_tiny')


def test_a_changed_file_is_noticed(tiny, server, home):
    path = zoo.fetch('clip_tiny')
    path.write_bytes(BODY[:-1] + b'x')
    [(place, source)] = zoo.kept(zoo.find('clip_tiny'))
    assert place == path and 'sha256' in zoo.fault_of(place, source)
    assert zoo.fetch('clip_tiny').read_bytes() == BODY
    assert zoo.fault_of(place, source) is None


def test_one_of_several_threads_fetches(tiny, server):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(zoo.fetch('clip_tiny')))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and server.asked == ['/w.pth']


@pytest.mark.parametrize('cut', [0, 1, 9])
def test_safetensors_are_whole_or_refused(server, cut):
    body = save({'a': torch.ones(9)}, metadata={'format': 'pt'})
    server.files['/a.safetensors'] = Served(body[: len(body) - cut])
    url = f'{server.url}/a.safetensors'
    if not cut:
        assert zoo.fetch(url).read_bytes() == body
        return
    with pytest.raises(ZooError, match='damaged'):
        zoo.fetch(url)


def test_urls_are_fetched_too_and_checked_if_they_say_how(server):
    server.files['/w-20240115.pth'] = Served()  # a date, no hash
    url = f'{server.url}/w-20240115.pth'
    assert zoo.fetch(url) == zoo.fetch(url, offline=True)
    assert zoo.fetch(f'{url}#sha256={sha256()}')
    server.files['/w-20240115.pth'] = Served(BODY + b'x')
    with pytest.raises(ZooError, match='sha256'):
        zoo.fetch(f'{url}#sha256={"0" * 64}')


def test_two_urls_of_one_file_name_do_not_meet(server):
    other = BODY + b'other'
    server.files.update({'/a/w.pth': Served(), '/b/w.pth': Served(other)})
    first = zoo.fetch(f'{server.url}/a/w.pth')
    second = zoo.fetch(f'{server.url}/b/w.pth')
    assert (first.read_bytes(), second.read_bytes()) == (BODY, other)


def test_the_hub_s_library_fetches_and_caches(tiny, hub):
    tiny(source(HUB, sha256()))
    hub.answers = {FILE: [BODY]}
    for offline in (False, True):
        assert zoo.fetch('clip_tiny', offline) == hub.folder / FILE
    assert hub.asked == [('owner/name', 'abc', FILE, False)]


def test_a_wrong_file_in_the_hub_s_cache_is_fetched_again(tiny, hub):
    tiny(source(HUB, sha256()))
    hub.answers = {FILE: [PAGE, BODY]}
    assert zoo.fetch('clip_tiny') == hub.folder / FILE
    assert [asked[-1] for asked in hub.asked] == [False, True]


@pytest.mark.parametrize(
    'name', ['owner/name@v1', 'hf://owner/name@v1/pytorch_model.bin']
)
def test_what_the_hub_s_library_has_cached_is_found(
    name, monkeypatch, tmp_path
):
    monkeypatch.setattr(
        huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path)
    )
    folder, commit = tmp_path / 'models--owner--name', '0' * 40
    file = folder / 'snapshots' / commit / 'pytorch_model.bin'
    for path, body in (
        (folder / 'refs' / 'v1', commit.encode()),
        (file, BODY),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
    assert zoo.fetch(zoo.canonical(name), offline=True) == file


def test_the_hub_without_a_network(tiny, hub):
    tiny(source(HUB))
    with pytest.raises(ZooError, match=r'no connection\): run `ca2'):
        zoo.fetch('clip_tiny')


@pytest.fixture
def repository(hub, tmp_path):
    """A repository with weights in two parts, of which nothing is here."""
    hub.weights = {'a': torch.ones(2), 'b': torch.zeros(3)}
    hub.parts = [f'model-0000{i}-of-00002.safetensors' for i in (1, 2)]
    whole = dict(zip(hub.weights, hub.parts, strict=True))
    for key, part in whole.items():
        hub.answers[part] = [save({key: hub.weights[key]})] * 9
    index = json.dumps(dict(weight_map=whole)).encode()
    hub.answers[INDEX] = [index] * 9
    for name in ('config.json', 'README.md', 'pytorch_model.bin'):
        hub.answers[name] = [b'{}'] * 9
    return hub


@pytest.mark.parametrize(
    'name', ['owner/big@v1', 'hf://owner/big@v1', f'hf://owner/big@v1/{INDEX}']
)
def test_a_repository_of_several_parts_comes_whole(repository, name):
    def read():
        return open_checkpoint(name)['state_dict']

    assert read().keys() == repository.weights.keys()
    there = {path.name for path in repository.folder.iterdir()}
    assert there == {INDEX, *repository.parts, 'config.json'}
    assert {asked[:2] for asked in repository.asked} == {('owner/big', 'v1')}
    repository.answers.clear()
    assert torch.equal(read()['b'], repository.weights['b'])  # from here


def test_half_a_model_is_fetched_again_or_refused(repository):
    zoo.fetch('hf://owner/big@v1')
    lost = repository.folder / repository.parts[1]
    lost.unlink()
    with pytest.raises(ZooError, match='hf download owner/big --revision v1'):
        zoo.fetch('hf://owner/big@v1', offline=True)
    assert zoo.fetch('hf://owner/big@v1').parent == lost.parent
    assert lost.exists()
    lost.unlink()
    del repository.answers[lost.name]
    with pytest.raises(ZooError, match=f'it holds no {lost.name}'):
        zoo.fetch('hf://owner/big@v1')
    for path in repository.folder.iterdir():
        path.unlink()
    repository.answers = {'README.md': []}
    with pytest.raises(ZooError, match='it holds no model.safetensors or'):
        zoo.fetch('hf://owner/big@v1')


def test_a_shared_drive_is_gdown_s(tiny, monkeypatch):
    tiny(source('gdrive://some-id/w.pth'))
    monkeypatch.setitem(sys.modules, 'gdown', None)
    with pytest.raises(ZooError, match='pip install gdown$'):
        zoo.fetch('clip_tiny')
    tiny(source('https://localhost:1/w.pth'), source('gdrive://some-id/w.pth'))
    said = r'\(no connection\), gdrive.* gdown\): run `ca2st weights get'
    with pytest.raises(ZooError, match=said):
        zoo.fetch('clip_tiny')

    def download(id, output, quiet):
        assert id == 'some-id'
        Path(output).write_bytes(BODY)

    gdown = types.SimpleNamespace(download=download)
    monkeypatch.setitem(sys.modules, 'gdown', gdown)
    assert zoo.fetch('clip_tiny').read_bytes() == BODY


def test_no_room_is_said_at_once(tiny, home):
    home.write_text('a file where the folder should be')
    with pytest.raises(ZooError, match='CA2ST_MM_HOME'):
        zoo.fetch('clip_tiny')


def test_a_model_without_weights_names_its_config(tiny, monkeypatch):
    bare = entry()._replace(config='configs/a.py')
    monkeypatch.setattr(catalogue, '_catalogue', lambda: {'a': bare})
    with pytest.raises(ZooError, match='train it with configs/a.py'):
        zoo.fetch('a')
