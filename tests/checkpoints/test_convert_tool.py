# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command line: what it prints, writes and refuses."""

import pytest
import torch
from layouts import NAMES, published
from layouts import reference_weights as weights_of
from tool_runs import run_tool

from ca2st_mm import zoo
from ca2st_mm.checkpoints import (
    SOURCES,
    from_reference,
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
    return unwrap(read_checkpoint(path)).state_dict


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_convert(suffix, run, tmp_path):
    weights = published('clip_hf', torch.float16)
    weights['visual_projection.weight'] = torch.zeros(2, 4)
    src = saved(dict(model=weights), tmp_path)
    dst = tmp_path / f'ours{suffix}'
    status, out, _ = run(src, dst)
    assert status == 0
    assert '(clip_hf), in model' in out
    assert 'ignored 1 keys: projection' in out
    assert 'tensors of float16 became float32' in out
    expected = SOURCES['clip_hf'].to_ours(weights).state_dict
    found = read(dst)
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


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
    assert 'head.bias -> nothing: classifier of the training before' in lines
    assert all(key in out for key in weights)


def test_there_and_back_through_files(run, tmp_path):
    theirs = weights_of('cast_compo')
    src = saved(dict(module=theirs), tmp_path)
    ours, back = tmp_path / 'ours.safetensors', tmp_path / 'back.pth'
    assert run(src, ours)[0] == 0
    status, out, _ = run(ours, back, '--to', 'reference')
    assert status == 0
    assert 'in the layout cast_reference' in out
    found = read(back)
    assert set(found) == set(theirs)
    assert all(torch.equal(found[key], theirs[key]) for key in theirs)


def test_audio_positions_are_dropped_when_asked(run, tmp_path):
    theirs = weights_of('cava_single_nopos_notime')
    src, dst = saved(theirs, tmp_path), tmp_path / 'ours.safetensors'
    assert run(src, dst, '--drop-audio-positions')[0] == 0
    kept = from_reference(theirs).state_dict
    lost = set(kept) - set(read(dst))
    assert len(lost) == 12 * 8
    assert all(key.endswith(('space_table', 'time_table')) for key in lost)


@pytest.mark.parametrize(
    'container, arguments, message',
    [
        (dict(a=torch.zeros(1)), (), "fit no known source (first keys: 'a')"),
        (published('clip_hf'), ('--from', 'ast_hf'), 'this is no AST'),
        (published('clip_hf'), ('--from', 'ast'), '--from ast is not known'),
        (published('clip_hf'), ('--to', 'reference'), 'experts none'),
        (
            {**published('ast_hf'), 'neck': torch.zeros(1)},
            (),
            "are unknown ('neck')",
        ),
    ],
)
def test_errors_are_one_sentence(container, arguments, message, run, tmp_path):
    src = saved(container, tmp_path)
    status, _, err = run(src, tmp_path / 'ours.pth', *arguments)
    assert status == 1
    assert err.startswith('error: ') and err.count('\n') == 1
    assert message in err
    assert not (tmp_path / 'ours.pth').exists()


@pytest.mark.parametrize('name', NAMES)
def test_an_expert_of_ours_loads_what_was_written(name, run, tmp_path):
    src = saved(published(name), tmp_path)
    status, out, err = run(src, tmp_path / 'ours.safetensors')
    assert status == 0, err
    assert 'Expert loads it' in out


@pytest.mark.parametrize('name', ['ours.safetensors', 'theirs.pth'])
def test_what_no_expert_of_ours_loads_replaces_nothing(name, run, tmp_path):
    weights = published('clip_openai')
    key = 'visual.transformer.resblocks.2.mlp.c_fc.bias'
    weights[key] = torch.zeros(7)
    src, dst = saved(weights, tmp_path), tmp_path / name
    if dst != src:
        dst.write_bytes(b'what was there before')
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    status, out, err = run(src, dst)
    assert status == 1 and 'layers.2.ffn.fc1.bias' in err
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


def test_files_that_are_missing_or_not_named(run, tmp_path):
    status, _, err = run(tmp_path / 'nothing.pt', tmp_path / 'ours.pth')
    assert status == 1 and 'nothing.pt' in err
    status, _, err = run(saved(published('ast_hf'), tmp_path))
    assert status == 2
    assert 'name the file to write, or give --dry-run' in err
