# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files come back as they were written; no code in them ever runs."""

import json
import os
import pickle
import random

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import load_file, save_file
from torch import nn

from ca2st_mm.checkpoints import files
from ca2st_mm.checkpoints.files import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
    unwrap,
    write_checkpoint,
)


class Program(nn.Module):
    """What a TorchScript archive may hold: halves, views, buffers, code."""

    def __init__(self):
        super().__init__()
        self.light = nn.Linear(3, 4).half()
        self.nested = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.turned = nn.Parameter(torch.randn(2, 3).t())
        self.register_buffer('count', torch.tensor(5))

    def forward(self, x):
        return self.nested(x) + self.turned.sum() + self.count


class Evil:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def assert_same(a, b):
    assert set(a) == set(b)
    for key in a:
        assert a[key].dtype == b[key].dtype
        assert torch.equal(a[key], b[key]), key


def test_torchscript_tensors_without_its_program(tmp_path):
    path = tmp_path / 'model.pt'
    torch.jit.script(Program()).save(path)
    expected = torch.jit.load(path).state_dict()
    assert_same(read_checkpoint(path)['state_dict'], expected)


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_round_trip(tmp_path, suffix):
    state_dict = Program().state_dict()
    state_dict['again'] = state_dict['turned']
    state_dict['part'] = torch.arange(100)[10:20]
    path = tmp_path / f'model{suffix}'
    write_checkpoint(path, state_dict, dict(licence='Apache-2.0'))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it
    for name in (path.name, 'model.bin'):  # a file is what it holds
        read = read_checkpoint(path.rename(tmp_path / name))
        path = tmp_path / name
        assert_same(read['state_dict'], state_dict)
        assert read['meta']['licence'] == 'Apache-2.0'


def test_others_read_every_name_and_no_more_than_the_tensors(tmp_path):
    big, path = torch.randn(1000), tmp_path / 'model.safetensors'
    shared = dict(a=big, b=big, c=big[:10], d=big.view(10, 100).t())
    write_checkpoint(path, shared)
    assert path.stat().st_size < 3 * 4000 + 500
    assert_same(load_file(path), shared)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.safetensors'
    write_checkpoint(path, dict(a=torch.ones(2)))

    def disk_full(tensors, name, *args):
        name.write_bytes(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(files, 'save_file', disk_full)
    with pytest.raises(OSError, match='No space'):
        write_checkpoint(path, dict(a=torch.zeros(2)))
    monkeypatch.undo()
    assert torch.equal(read_checkpoint(path)['state_dict']['a'], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def save_plain(value, path):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize('save', [torch.save, save_plain])
@pytest.mark.parametrize('door', ['ours', 'mmengine'])
def test_foreign_code_is_refused(tmp_path, save, door):
    trace, path = tmp_path / 'hacked', tmp_path / 'model.pth'
    save(dict(state_dict=Evil(trace)), path)
    doors = dict(
        ours=read_checkpoint, mmengine=CheckpointLoader.load_checkpoint
    )
    with pytest.raises(UnsafeCheckpointError, match=r'model\.pth.*not loaded'):
        doors[door](str(path))
    assert not trace.exists()


def test_torchscript_with_foreign_code_is_refused(tmp_path):
    import zipfile

    trace, path = tmp_path / 'hacked', tmp_path / 'model.pt'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('m/data.pkl', pickle.dumps(Evil(trace)))
        archive.writestr('m/constants.pkl', pickle.dumps(()))
    with pytest.raises(UnsafeCheckpointError, match=r'posix\.system'):
        read_checkpoint(path)
    assert not trace.exists()


def old_format(path):
    torch.save({'a': torch.randn(9)}, path, _use_new_zipfile_serialization=0)


FORMATS = dict(
    zip=lambda path: torch.save(dict(state_dict={'a': torch.ones(9)}), path),
    old=old_format,
    script=lambda path: torch.jit.script(nn.Linear(2, 2)).save(path),
    tensors=lambda path: save_file({'a': torch.ones(9)}, path),
)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('write', FORMATS.values(), ids=FORMATS)
def test_a_file_cut_or_flipped_anywhere_is_read_or_named(tmp_path, write):
    path = tmp_path / 'model.pt'
    write(path)
    data, chance, named = path.read_bytes(), random.Random(0), 0
    places = [0, *(chance.randrange(len(data)) for _ in range(99))]
    changes = [*zip(places, [True, False] * 50, strict=True)]
    # A zip is read from its end.
    changes += [(len(data) - n, False) for n in range(1, 120)]
    for place, cut in changes:
        end = b'' if cut else bytes([data[place] ^ 255]) + data[place + 1 :]
        path.write_bytes(data[:place] + end)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            assert 'model.pt' in str(error)
            named += 1
    assert named > 50


def test_a_fault_of_the_machine_is_not_the_file_s(tmp_path, monkeypatch):
    torch.save(dict(a=torch.ones(1)), tmp_path / 'a.pth')

    def load(*args, **kwargs):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(torch, 'load', load)
    with pytest.raises(torch.OutOfMemoryError):
        read_checkpoint(tmp_path / 'a.pth')


def test_absent_and_foreign_files_name_themselves(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file.*a\.pth'):
        read_checkpoint(tmp_path / 'a.pth')
    torch.save(torch.ones(2), tmp_path / 'b.pth')
    with pytest.raises(DamagedCheckpointError, match='holds a Tensor'):
        read_checkpoint(tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=r'must end in \.safetensors'):
        write_checkpoint(tmp_path / 'c.onnx', {})


@pytest.fixture(params=['.safetensors', '.bin'])
def sharded(request, tmp_path):
    """A folder with a checkpoint in two parts, and its weights."""
    suffix = request.param
    stem = 'model' if suffix == '.safetensors' else 'pytorch_model'
    weights = {'a': torch.ones(2), 'model.b': torch.zeros(3)}
    names = [f'{stem}-0000{i}-of-00002{suffix}' for i in (1, 2)]
    for name, (key, value) in zip(names, weights.items(), strict=True):
        if suffix == '.safetensors':
            save_file({key: value}, tmp_path / name)
        else:
            torch.save({key: value}, tmp_path / name)
    index = dict(weight_map=dict(zip(weights, names, strict=True)))
    path = tmp_path / f'{stem}{suffix}.index.json'
    path.write_text(json.dumps(index))
    return path, names, weights


def test_a_sharded_checkpoint_is_read_whole_or_refused(sharded):
    path, names, weights = sharded
    for source in (path, path.parent):
        assert_same(read_checkpoint(source)['state_dict'], weights)
    with pytest.raises(DamagedCheckpointError, match='one part of a check'):
        read_checkpoint(path.parent / names[0])
    (path.parent / names[1]).unlink()
    with pytest.raises(DamagedCheckpointError, match=f'{names[1]}.*missing'):
        read_checkpoint(path)


def test_a_part_without_its_tensors_is_refused(sharded):
    path, names, _ = sharded
    (path.parent / names[1]).write_bytes((path.parent / names[0]).read_bytes())
    with pytest.raises(DamagedCheckpointError, match="lack .*'model.b'"):
        read_checkpoint(path)


def test_an_index_that_leads_elsewhere_is_refused(tmp_path):
    path = tmp_path / 'model.safetensors.index.json'
    write_checkpoint(tmp_path.parent / 'b.safetensors', dict(a=torch.ones(1)))
    for text in ('{}', '[]', '{"weight_map": {"a": "../b.safetensors"}}'):
        path.write_text(text)
        with pytest.raises(DamagedCheckpointError, match='index.json'):
            read_checkpoint(path)


def test_a_folder_holds_weights_or_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no weights'):
        read_checkpoint(tmp_path)
    write_checkpoint(tmp_path / 'model.safetensors', dict(a=torch.ones(1)))
    assert list(read_checkpoint(tmp_path)['state_dict']) == ['a']


WEIGHTS = {'a.weight': torch.zeros(2), 'b': torch.ones(1)}


def under(prefix):
    return {prefix + key: value for key, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    'container',
    [
        WEIGHTS,
        dict(model=WEIGHTS, epoch=1),
        dict(module=WEIGHTS, epoch=1),
        dict(state_dict=WEIGHTS, meta={}),
        dict(module={}, model=WEIGHTS),
        dict(model=dict(state_dict=WEIGHTS)),
        dict(model_state_dict=WEIGHTS, optimizer_state_dict=dict(state={})),
        dict(epoch=1, student=WEIGHTS, hyper=dict(lr=1.0)),
        under('module.'),
        under('_orig_mod.'),
        dict(state_dict=under('model.module.')),
        dict(model=under('module._orig_mod.')),
        dict(state_dict=under('_orig_mod.module.model.')),
    ],
)
def test_weights_are_found_in_containers_and_behind_prefixes(container):
    assert_same(unwrap(container), WEIGHTS)


@pytest.mark.parametrize(
    'key, found', [('head._orig_mod.a', 'head.a'), ('module.a', 'module.a')]
)
def test_a_compiled_part_keeps_its_names_and_a_prefix_of_some_stays(
    key, found
):
    mixed = {key: torch.zeros(1), 'b': torch.zeros(1)}
    assert list(unwrap(mixed)) == [found, 'b']


@pytest.mark.parametrize(
    'container, message',
    [
        (dict(epoch=1, weights=1), "entries are 'epoch', 'weights'"),
        (dict(student=WEIGHTS, teacher=WEIGHTS), "several .*'student', 'tea"),
        (dict(model=dict(epoch=1)), "under 'model'"),
        ({}, 'entries are none'),
        (dict(WEIGHTS, epoch=1), "'epoch' of type int"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(container, message):
    with pytest.raises(ValueError, match=message):
        unwrap(container)
