# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files come back as they were written; no code in them ever runs."""

import os
import pickle

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ca2st_mm.checkpoints import files
from ca2st_mm.checkpoints.files import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
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
    read = read_checkpoint(path)
    assert_same(read['state_dict'], state_dict)
    assert read['meta']['licence'] == 'Apache-2.0'
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_shared_tensors_are_stored_once(tmp_path):
    big = torch.randn(1000)
    sizes = []
    for state_dict in (dict(a=big), dict(a=big, b=big, c=big)):
        path = tmp_path / 'model.safetensors'
        write_checkpoint(path, state_dict)
        sizes.append(path.stat().st_size)
    assert sizes[1] < sizes[0] + 500
    assert_same(read_checkpoint(path)['state_dict'], state_dict)


def test_safetensors_under_any_name(tmp_path):
    path = tmp_path / 'model.safetensors'
    write_checkpoint(path, dict(a=torch.ones(2)))
    renamed = path.rename(tmp_path / 'model.bin')
    assert torch.equal(
        read_checkpoint(renamed)['state_dict']['a'], torch.ones(2)
    )


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.safetensors'
    write_checkpoint(path, dict(a=torch.ones(2)))

    def disk_full(tensors, name, metadata):
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


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
@pytest.mark.parametrize('keep', [0, 9, 500])
def test_cut_files_name_themselves(tmp_path, suffix, keep):
    path = tmp_path / f'model{suffix}'
    write_checkpoint(path, dict(a=torch.randn(1000)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedCheckpointError, match=r'model\..*damaged'):
        read_checkpoint(path)


def test_absent_and_foreign_files_name_themselves(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file.*a\.pth'):
        read_checkpoint(tmp_path / 'a.pth')
    torch.save(torch.ones(2), tmp_path / 'b.pth')
    with pytest.raises(DamagedCheckpointError, match='holds a Tensor'):
        read_checkpoint(tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=r'must end in \.safetensors'):
        write_checkpoint(tmp_path / 'c.onnx', {})
