# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``tools/weights.py``, and configs that name weights of the zoo."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from file_server import BODY, PAGE, Served, entry, sha256, source
from mmengine.config import Config
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from tool_runs import run_tool

from ca2st_mm import zoo
from ca2st_mm.checkpoints.files import write_checkpoint
from ca2st_mm.engine import checkpointing
from ca2st_mm.engine.preflight import MissingFileError, check_files
from ca2st_mm.zoo import catalogue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def body(tmp_path):
    """A linear layer as a file."""
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / 'line.pth')
    return (tmp_path / 'line.pth').read_bytes()


@pytest.fixture
def served(server, monkeypatch, body):
    """The layer in the zoo as ``line``, next to one that is gone."""
    server.files['/line.pth'] = Served(body)
    line = entry(source(f'{server.url}/line.pth', sha256(body)), name='line')
    gone = entry(source(f'{server.url}/gone.pth'), name='gone')
    found = dict(line=line, gone=gone)
    monkeypatch.setattr(catalogue, '_catalogue', lambda: found)
    return server.files['/line.pth']


def test_the_tool_lists_fetches_and_checks(served, home, capsys):
    assert run_tool('weights.py', 'get', 'gone', 'line') == 1
    out, err = capsys.readouterr()
    place = home / 'line' / 'line.pth'
    assert out.splitlines() == [str(place)]
    assert 'error: ' in err and 'weights get gone' in err
    assert 'line: licence: MIT' in err
    assert run_tool('weights.py', 'list') == 0
    head, line, gone = capsys.readouterr().out.splitlines()
    assert line.split()[-1] == 'yes' and gone.split()[-1] == 'no'
    assert run_tool('weights.py', 'path', 'line') == 0
    assert capsys.readouterr().out.strip() == str(place)
    assert run_tool('weights.py', 'check') == 1
    out = capsys.readouterr().out
    assert 'ok  line' in out and 'FAIL  gone' in out and '404' in out
    assert run_tool('weights.py', 'verify', 'line') == 0
    place.write_bytes(place.read_bytes() + b'x')
    assert run_tool('weights.py', 'verify') == 1
    assert run_tool('weights.py', 'path', 'line') == 1
    assert run_tool('weights.py', 'list', 'zz*') == 2
    assert run_tool('weights.py', 'get', 'lime') == 2


def test_check_asks_every_source(server, monkeypatch, capsys):
    good, page = f'{server.url}/w.pth', f'{server.url}/page'
    server.files['/w.pth'] = Served()
    server.files['/page'] = Served(PAGE, headers={'Content-Type': 'text/html'})
    hub = 'hf://owner/name@abc/model.bin'
    tiny = entry(
        source(good, sha256(), len(BODY)),
        source(good, size=1),
        source(page, sha256()),
        source(hub, sha256()),
    )
    monkeypatch.setattr(catalogue, '_catalogue', lambda: {tiny.name: tiny})
    told = SimpleNamespace(size=5, etag='0' * 64)
    monkeypatch.setattr(
        huggingface_hub, 'get_hf_file_metadata', lambda url, timeout: told
    )
    assert run_tool('weights.py', 'check') == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'ok  clip_tiny {good}'
    for line, fault in zip(
        lines[1:],
        ('bytes instead of 1', 'web page', 'sha256 000'),
        strict=True,
    ):
        assert line.startswith('FAIL') and fault in line
    assert server.asked == []  # nothing is fetched


@pytest.mark.parametrize(
    'url, sha256, pin',
    [
        ('hf://a/b@1f/c.bin', None, 'revision'),
        ('hf://a/b/c.bin', '0' * 64, 'sha256'),
        ('https://x.org/c.pth', '01234567', 'sha256, 8 digits'),
        ('gdrive://id/c.pth', None, 'no'),
    ],
)
def test_the_list_shows_what_pins_a_file(
    url, sha256, pin, monkeypatch, capsys
):
    found = {'a': entry(source(url, sha256), name='a')}
    monkeypatch.setattr(catalogue, '_catalogue', lambda: found)
    assert run_tool('weights.py', 'list') == 0
    assert f'  {pin}  ' in capsys.readouterr().out.splitlines()[1]


def test_the_tool_fetches_by_any_form_of_a_name(served, monkeypatch):
    asked = []
    monkeypatch.setattr(zoo, 'fetch', lambda name, offline: asked.append(name))
    for name in ('line', 'zoo://line', 'owner/cast@v1'):
        assert run_tool('weights.py', 'get', name) == 0
    assert asked == ['zoo://line', 'zoo://line', 'hf://owner/cast@v1']


def test_the_list_takes_no_second_and_imports_no_torch():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        'import runpy, sys; sys.argv = ["weights.py", "list"]\n'
        'try: runpy.run_path("tools/weights.py", run_name="__main__")\n'
        'except SystemExit: pass\n'
        'assert "torch" not in sys.modules and "mmengine" not in sys.modules'
    )
    subprocess.run(
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 1


def config(**extra):
    weights = dict(type='Pretrained', checkpoint='zoo://line')
    return Config(dict(model=dict(backbone=dict(init_cfg=weights)), **extra))


def test_a_run_fetches_what_it_needs(served, server, home):
    loader = dict(dataset=dict(ann_file='gone.csv'))
    with pytest.raises(
        MissingFileError, match='gone.csv: .*\n.*zoo://line: the weights'
    ):
        check_files(config(train_dataloader=loader))
    check_files(config(), 'test')  # initialises nothing
    assert server.asked == []
    check_files(config())
    check_files(config(load_from='zoo://line'), 'test')
    assert server.asked == ['/line.pth']
    with pytest.raises(MissingFileError, match='zoo://lime: .*mean line'):
        check_files(Config(dict(load_from='zoo://lime')), 'test')


@pytest.mark.parametrize('name', ['ca2st/ca2st_k400', 'experts/ast_vggsound'])
def test_all_weights_that_are_missing_are_named_at_once(monkeypatch, name):
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '1')
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    backbone = cfg.model.backbone
    weights = {
        expert.init_cfg.checkpoint.removeprefix('zoo://')
        for expert in backbone.get('experts', {'': backbone}).values()
    }
    with pytest.raises(MissingFileError) as caught:
        check_files(Config(dict(model=cfg.model)))
    message = str(caught.value)
    assert all(f'weights get {name}`' in message for name in weights)
    assert message.startswith('Cannot start, ')
    assert len(message.splitlines()) == 1 + len(weights)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_mmengine_loads_what_we_name(served, tmp_path, body, suffix):
    expected = torch.load(tmp_path / 'line.pth')
    path = tmp_path / f'again{suffix}'
    write_checkpoint(path, expected)
    for name in ('zoo://line', str(path)):
        layer = torch.nn.Linear(2, 1)
        load_checkpoint(layer, name)
        assert torch.equal(layer.weight, expected['weight'])


def test_schemes_of_others_stay_theirs(monkeypatch):
    def theirs(filename, map_location=None):
        return {}

    ours = checkpointing.load_from_file
    schemes = {'': theirs, 'hf://': theirs, 'https://': theirs}
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    checkpointing.register_schemes()
    assert CheckpointLoader._schemes == {**schemes, 'zoo://': ours}
    schemes = {'': mmengine_checkpoint.load_from_local}
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    checkpointing.register_schemes()
    assert set(CheckpointLoader._schemes.values()) == {ours}


def test_importing_us_leaves_the_schemes_of_mmengine():
    for scheme in ('http://', 'https://', 's3://', 'torchvision://'):
        loader = CheckpointLoader._get_checkpoint_loader(f'{scheme}x')
        assert loader.__module__ == mmengine_checkpoint.__name__
