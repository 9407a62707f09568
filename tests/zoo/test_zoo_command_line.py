# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``tools/weights.py``: what it prints and how it ends."""

import importlib.util
from pathlib import Path

import pytest
from file_server import BODY, Served, entry, sha256, source

from ca2st_mm.zoo import catalogue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location(
        'weights', ROOT / 'tools' / 'weights.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def small_zoo(server, home, monkeypatch):
    """Two entries: one that can be fetched, one that is gone."""
    server.files['/a.pth'] = Served()
    found = [
        entry(source(f'{server.url}/a.pth', sha256()), name='good'),
        entry(source(f'{server.url}/b.pth'), name='gone'),
    ]
    monkeypatch.setattr(
        catalogue, '_catalogue', lambda: {e.name: e for e in found}
    )


def test_list_shows_name_role_size_licence_and_cached(main, small_zoo, capsys):
    assert main(['get', 'good']) == 0
    capsys.readouterr()
    assert main(['list']) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *('name', 'role', 'size', 'licence', 'of', 'the', 'weights'),
        'cached',
    ]
    assert rows[0].split() == ['good', 'spatial', 'expert'] + [
        *(f'{len(BODY) / 1000:.3g}', 'KB', 'MIT', 'yes'),
    ]
    assert rows[1].split()[3:] == ['unknown', 'MIT', 'no']
    assert main(['list', 'go*d']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_get_goes_on_after_a_failure(main, small_zoo, home, capsys):
    assert main(['get', 'gone', 'good']) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(home / 'good' / 'a.pth')]
    assert 'error: Cannot get the weights of gone, tried: ' in err
    assert 'good: licence of these weights: MIT' in err


@pytest.mark.parametrize('how', ['flag', '1', 'true'])
def test_offline(main, small_zoo, server, capsys, monkeypatch, how):
    command = ['get', 'good']
    if how == 'flag':
        command.append('--offline')
    else:
        monkeypatch.setenv('CA2ST_MM_OFFLINE', how)
    assert main(command) == 1
    assert 'while offline' in capsys.readouterr().err
    assert server.asked == []


def test_offline_0_is_online(main, small_zoo, monkeypatch):
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '0')
    assert main(['get', 'good']) == 0


def test_verify(main, small_zoo, home, capsys):
    assert main(['verify']) == 0
    assert f'no weights in {home}' in capsys.readouterr().out
    assert main(['verify', 'good']) == 1
    assert 'FAIL  good  not in the cache' in capsys.readouterr().out
    main(['get', 'good'])
    capsys.readouterr()
    for command in (['verify'], ['verify', 'good']):
        assert main(command) == 0
        out = capsys.readouterr().out
        assert out == f'ok  good {home / "good" / "a.pth"}\n'
    (home / 'good' / 'a.pth').write_bytes(BODY[::-1])
    assert main(['verify']) == 1
    assert capsys.readouterr().out.startswith('FAIL  good')


def test_path(main, small_zoo, home, capsys):
    assert main(['path', 'good']) == 1
    assert 'weights.py get good' in capsys.readouterr().err
    main(['get', 'good'])
    capsys.readouterr()
    assert main(['path', 'good']) == 0
    assert capsys.readouterr().out == f'{home / "good" / "a.pth"}\n'


@pytest.mark.parametrize(
    'command', [['get', 'goof'], ['path', 'goof'], ['verify', 'goof']]
)
def test_wrong_name_is_one_sentence(main, small_zoo, server, capsys, command):
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "error: The zoo has no 'goof'; did you mean good" in err
    assert len(err.splitlines()) == 1
    assert server.asked == []


def test_pattern_without_entries_is_an_error(main, small_zoo, capsys):
    assert main(['list', 'x*']) == 2
    assert "nothing like 'x*'" in capsys.readouterr().err


def test_table_is_the_page_of_the_docs(main, capsys):
    assert main(['table']) == 0
    written = (ROOT / 'docs' / 'zoo.md').read_text()
    assert capsys.readouterr().out == written
