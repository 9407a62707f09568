# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``tools/convert_checkpoint.py``: what it writes, prints and refuses."""

import re

import pytest
import torch
from golden_cases import GoldenCase
from layouts import published
from layouts import reference_weights as weights_of
from tool_runs import run_tool

from ca2st_mm import zoo
from ca2st_mm.checkpoints import (
    LAYOUTS,
    detect_layout,
    read_checkpoint,
    unwrap,
)


@pytest.fixture
def run(capsys):
    """Run the tool with arguments -> status, stdout, stderr."""

    def call(*arguments):
        status = run_tool('convert_checkpoint.py', *arguments)
        return status, *capsys.readouterr()

    return call


def saved(container, tmp_path):
    path = tmp_path / 'theirs.pth'
    torch.save(container, path)
    return path


def read(path):
    return unwrap(read_checkpoint(path))


def assert_same(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    'name', ['clip_openai', 'videomae_hf', 'ast_official']
)
def test_an_expert_of_ours_loads_what_was_written(name, run, tmp_path):
    weights = published(name, torch.float16)
    src, dst = saved(dict(model=weights), tmp_path), tmp_path / 'ours.pth'
    if name.endswith('hf'):
        dst = dst.with_suffix('.safetensors')
    status, out, err = run(src, dst)
    assert status == 0, err
    assert f': {name}\n' in out and 'Expert loads it' in out
    conversion = LAYOUTS[name].convert(weights)
    assert all(line in out for line in conversion.account())
    assert_same(read(dst), conversion.state_dict)


def test_dry_run_prints_every_key_and_writes_nothing(run, tmp_path):
    weights = published('videomae_official')
    weights['head.bias'] = torch.zeros(5)
    src = saved(weights, tmp_path)
    status, out, _ = run(src, '--dry-run')
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == [src.name]
    lines = out.splitlines()
    assert (
        'blocks.1.attn.q_bias + blocks.1.attn.v_bias -> '
        'layers.1.attention.attn.qkv.bias (12,)'
    ) in lines
    assert 'blocks.2.mlp.fc1.weight -> layers.2.ffn.fc1.weight (6, 4)' in lines
    assert any(line.startswith('head.bias -> nothing: ') for line in lines)
    assert all(key in out for key in weights)


def test_there_and_back_through_files(run, tmp_path):
    theirs = weights_of('cast_compo')
    src = saved(dict(module=theirs), tmp_path)
    ours, back = tmp_path / 'ours.safetensors', tmp_path / 'back.pth'
    assert run(src, ours)[0] == 0
    status, out, _ = run(ours, back, '--to', 'reference')
    assert status == 0 and 'in the layout cast_reference' in out
    assert_same(read(back), theirs)


def early(theirs):
    """The tables that CA2ST had before 2024-08-26, used or not."""
    tables = {}
    for key in theirs:
        found = re.match(
            r'(blocks\.\d+\.(s|t)_audio_b_cast\.(l2r|r2l)_cross)\.q\.', key
        )
        if found:
            video = dict(s='clip', t='vmae')[found.group(2)]
            for side in (video, 'audio'):
                for kind in ('space', 'temporal'):
                    name = f'{found.group(1)}.{side}_{kind}_pos'
                    tables[name] = torch.randn(3, 4)
    return tables


def test_unused_position_tables_are_left_out_when_asked_only(run, tmp_path):
    late = weights_of('ca2st_compo')
    tables = early(late)
    assert len(tables) == 3 * 2 * 2 * 4
    src = saved({**late, **tables}, tmp_path)
    dst, drop = tmp_path / 'ours.safetensors', '--drop-audio-positions'
    status, out, _ = run(src, dst)
    assert status == 0 and f'{drop} leaves' in out
    expected = detect_layout(late).convert(late).state_dict
    assert len(read(dst)) == len(expected) + len(tables)
    status, out, _ = run(src, dst, drop)
    assert status == 0 and drop not in out
    # The tables of the space-time links stay.
    assert_same(read(dst), expected)
    status, _, err = run(saved(late, tmp_path), dst, drop)
    assert status == 1 and 'no position tables' in err


@pytest.mark.parametrize(
    'name, shared',
    [
        ('ca2st_tiny_share', True),
        ('ca2st_tiny_single', False),
        ('cast_tiny_single', False),
    ],
)
def test_shared_bottlenecks_are_told_by_their_values(
    name, shared, run, tmp_path
):
    src = saved(GoldenCase(name).reference_state_dict(), tmp_path)
    _, out, _ = run(src, '--dry-run')
    assert ('share_bottlenecks=True' in out) == shared


def wrong_size():
    weights = published('clip_openai')
    key = 'visual.transformer.resblocks.2.mlp.c_fc.bias'
    return {**weights, key: torch.zeros(7)}


@pytest.mark.parametrize(
    'container, arguments, message',
    [
        (dict(a=torch.zeros(1)), (), "no known layout (first keys: 'a')"),
        (published('clip_hf'), ('--to', 'reference'), 'experts none'),
        ({**published('ast_hf'), 'neck': torch.zeros(1)}, (), "('neck')"),
        # No expert of ours would load what is written.
        (wrong_size(), (), 'layers.2.ffn.fc1.bias'),
    ],
)
@pytest.mark.parametrize('name', ['ours.safetensors', 'theirs.pth'])
def test_what_is_refused_in_one_sentence_replaces_nothing(
    name, container, arguments, message, run, tmp_path
):
    src, dst = saved(container, tmp_path), tmp_path / name
    if dst != src:
        dst.write_bytes(b'what was there before')
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    status, _, err = run(src, dst, *arguments)
    assert status == 1 and message in err and '.part' not in err
    assert err.startswith('error: ') and err.count('\n') == 1
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_source_is_named_as_everywhere(run, tmp_path, monkeypatch):
    theirs = saved(published('clip_hf'), tmp_path)
    monkeypatch.setattr(zoo, 'fetch', {'zoo://NAME': theirs}.get)
    assert run('zoo://NAME', tmp_path / 'ours.pth')[0] == 0

    def fails(source):
        raise zoo.ZooError('no network')

    monkeypatch.setattr(zoo, 'fetch', fails)
    status, _, err = run('zoo://NAME', tmp_path / 'ours.pth')
    assert (status, err) == (1, 'error: no network\n')
    status, _, err = run(tmp_path / 'nothing.pt', tmp_path / 'ours.pth')
    assert status == 1 and 'nothing.pt' in err
    assert run(theirs)[0] == 2  # names no file to write
