# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command that serves the page."""

import logging
import runpy
import shutil
import socket
import sys
from pathlib import Path

import pytest
import requests
from demo_web import listen
from page_server import served, uvicorn
from tool_runs import ROOT, run_tool


@pytest.fixture
def clone(tmp_path, recognizer, media):
    """After ``ca2st demo``; the toy is as small as ours.

    Tools and configs lie elsewhere, as in an installed package.
    """
    for name in ('package/tools', 'data', 'work_dirs/toy/ca2st_toy'):
        (tmp_path / name).mkdir(parents=True)
    for name in ('demo_web', 'common_flags', 'named_model'):
        shutil.copy(ROOT / f'tools/{name}.py', tmp_path / 'package/tools')
    (tmp_path / 'package/configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'data' / 'toy').symlink_to(media['folder'])
    run = tmp_path / 'work_dirs' / 'toy' / 'ca2st_toy'
    shutil.copy(media['folder'] / 'ca2st_toy.pth', run / 'epoch_1.pth')
    relative = 'work_dirs/toy/ca2st_toy/epoch_1.pth'
    (run / 'last_checkpoint').write_text(relative)
    return tmp_path


def check_the_toy(address, clip):
    """The page of the toy, with its examples, answers."""
    about = requests.get(f'{address}/about', timeout=60).json()
    assert about['title'] == 'ca2st_toy'
    assert about['examples'] == ['test_00000.mp4', 'test_00001.mp4']
    assert (about['max_bytes'], about['max_seconds']) == (200_000_000, 600)
    body = {'Content-Type': 'application/octet-stream'}
    url = f'{address}/ask/names'
    content = Path(clip).read_bytes()
    answer = requests.post(url, content, headers=body, timeout=60)
    assert len(answer.json()['ranked']['label']) == 5


def test_after_the_demo_it_needs_no_argument(
    clone, media, monkeypatch, tmp_path
):
    started = []
    log = logging.FileHandler(tmp_path / 'run.log')
    monkeypatch.setattr(logging.getLogger(__name__), 'handlers', [log])

    def run(server, sockets):
        [port] = sockets
        started.append((server.config.app, port.getsockname()[0]))

    tool = str(clone / 'package/tools/demo_web.py')
    monkeypatch.setattr(uvicorn.Server, 'run', run)
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, 'argv', [tool, '--port', '0', '--device', 'cpu'])
    runpy.run_path(tool, run_name='__main__')
    monkeypatch.undo()
    [(app, host)] = started
    assert host == '127.0.0.1'
    assert log.stream is not None, 'the page closed a log file'
    with served(app) as address:
        check_the_toy(address, media['short'])


@pytest.mark.skipif(not Path('/proc/net/if_inet6').exists(), reason='no IPv6')
def test_all_addresses_of_both_kinds_are_listened_on():
    with listen('::', 0) as port:
        for host in ('127.0.0.1', '::1'):
            address = host, port.getsockname()[1]
            socket.create_connection(address, timeout=10).close()


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert 'pip install anyio prometheus_client starlette uvicorn' in run_tool(
        'demo_web.py'
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['config.py'], 'name both CONFIG and CHECKPOINT'),
        (['a.py', 'b.pth', '--model', 'c'], 'either CONFIG and CHECKPOINT'),
        (['gone.py', 'b.pth'], 'There is no config file gone.py'),
        (['--model', 'gone.pth'], "no checkpoint file 'gone.pth'"),
        (['--model', 'cast_k40'], "there is no 'cast_k40'"),
        (['--model', 'x', '--device', 'gpu'], 'device gpu cannot'),
        (['--examples', 'nope'], '--examples nope: there is no such folder'),
        (['--examples', 'tools'], '--examples tools: the folder holds no'),
        ([], 'taken: of 127.0.0.1 cannot be had'),
        (['--port', '99999'], 'port 99999 of 127.0.0.1 cannot be had'),
        (['--host', 'not a host'], 'of not a host cannot be had'),
        (['--max-seconds', '0'], '0 is no number above 0'),
        (['--max-megabytes', 'nan'], 'nan is no number above 0'),
        (['--max-megabytes', 'inf'], 'inf is no number above 0'),
    ],
)
def test_bad_flags_end_in_one_sentence(arguments, message, capsys):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1] if 'taken' in message else 0)
        ports = [] if '--port' in arguments else ['--port', port]
        assert run_tool('demo_web.py', *arguments, *ports) == 2
    message = message.removeprefix('taken: ')
    said = capsys.readouterr().err
    assert message in said
    assert 'error: ' in said.splitlines()[-1] and 'Traceback' not in said
