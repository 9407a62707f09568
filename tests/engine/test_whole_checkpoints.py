# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The newest checkpoint whose check sums are right, and how it is written."""

import errno
import io
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.fileio.backends import registry_utils

from ca2st_mm.checkpoints.files import DamagedCheckpointError, check_sums
from ca2st_mm.engine import checkpoint_loading
from ca2st_mm.engine.whole_checkpoints import (
    AtomicLocalBackend,
    last_whole_checkpoint,
    write_checkpoints_whole,
)


def saved(values):
    buffer = io.BytesIO()
    torch.save(dict(meta={}, state_dict=dict(values=values)), buffer)
    return buffer.getvalue()


def flipped(data, bit=2):
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ bit]) + data[half + 1 :]


WHOLE = saved(torch.arange(1000.0))
HALF = WHOLE[: len(WHOLE) // 2]


@pytest.fixture
def write(tmp_path):
    """Writes as a run does, a second later each time."""
    clock = iter(range(1_000_000_000, 2_000_000_000))

    def file(name, data=WHOLE):
        path = tmp_path / name
        path.write_bytes(data)
        now = next(clock)
        os.utime(path, (now, now))
        return path

    return file


@pytest.mark.parametrize(
    'broken', [HALF, b'', flipped(WHOLE)], ids=['cut', 'empty', 'flipped']
)
def test_a_broken_newest_file_is_passed_over(write, tmp_path, broken):
    def newest():
        path = last_whole_checkpoint(tmp_path)
        return path and Path(path).name

    assert newest() is None
    for epoch in (1, 2, 10):
        write(f'epoch_{epoch}.pth')
    assert newest() == 'epoch_10.pth'
    write('epoch_10.pth', broken)
    write('best_acc_epoch_3.pth')
    assert newest() == 'epoch_2.pth'
    write('interrupted.pth')
    assert newest() == 'interrupted.pth'
    write('epoch_11.pth')
    assert newest() == 'epoch_11.pth'


def test_a_missing_folder_has_none(tmp_path):
    assert last_whole_checkpoint(tmp_path / 'missing') is None


def test_a_flipped_bit_is_named_with_what_is_whole(write):
    """``torch.load`` takes it for another weight."""
    older, newest = write('epoch_1.pth'), write('epoch_2.pth', flipped(WHOLE))
    loaded = torch.load(newest)['state_dict']['values']
    assert not torch.equal(loaded, torch.arange(1000.0))
    with pytest.raises(DamagedCheckpointError) as error:
        checkpoint_loading.load_from_file(str(newest))
    assert 'epoch_2.pth' in str(error.value)
    assert str(error.value).endswith(f'{older} is whole')


def test_a_file_without_check_sums_is_read(tmp_path):
    """Others save them so; PyTorch then stores zeros."""
    path = tmp_path / 'theirs.pth'
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(saved(torch.ones(3)))
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = checkpoint_loading.load_from_file(str(path))
    assert checkpoint['state_dict']['values'].sum() == 3


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_leaves_the_old_file(
    write, monkeypatch, code
):
    path = write('epoch_1.pth')

    def fails(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'fsync', fails)
    with pytest.raises(OSError, match=os.strerror(code)) as error:
        AtomicLocalBackend().put(saved(torch.zeros(9)), str(path))
    assert error.value.filename == str(path)
    assert path.read_bytes() == WHOLE
    assert list(path.parent.iterdir()) == [path]


def test_our_commands_have_every_runner_write_so(tmp_path, monkeypatch):
    """An import alone leaves MMEngine's writer in place for others."""
    for known, name in (('backends', 'local'), ('prefix_to_backends', '')):
        monkeypatch.setitem(getattr(registry_utils, known), name, LocalBackend)
    path = str(tmp_path / 'epoch_1.pth')
    assert type(get_file_backend(path)) is LocalBackend
    write_checkpoints_whole()
    assert type(get_file_backend(path)) is AtomicLocalBackend


def keep_writing(path, data, started):
    backend = AtomicLocalBackend()
    while True:
        backend.put(data, path)
        started.set()


def test_a_file_is_whole_whenever_its_writer_dies(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    fork = multiprocessing.get_context('fork')
    started = fork.Event()
    data = saved(torch.zeros(500_000))
    writer = fork.Process(target=keep_writing, args=(path, data, started))
    writer.start()
    assert started.wait(20)
    time.sleep(0.03)
    writer.kill()
    writer.join()
    check_sums(path)
