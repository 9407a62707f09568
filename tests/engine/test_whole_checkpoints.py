# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The newest checkpoint that can be read to its end: a file or a folder."""

import io
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from ca2st_mm.engine.whole_checkpoints import (
    AtomicLocalBackend,
    is_whole,
    last_whole_checkpoint,
)

# What DeepSpeed and FSDP with local states write for two processes.
FOLDERS = dict(
    deepspeed=[
        'mp_rank_00_model_states.pt',
        'zero_pp_rank_0_mp_rank_00_optim_states.pt',
        'zero_pp_rank_1_mp_rank_00_optim_states.pt',
    ],
    fsdp=['rank0.pth', 'rank1.pth'],
)


def saved(values):
    buffer = io.BytesIO()
    torch.save(dict(meta={}, values=values), buffer)
    return buffer.getvalue()


WHOLE = saved(torch.arange(1000))
HALF = WHOLE[: len(WHOLE) // 2]


class Writer:
    """Writes as a run does, a second later each time."""

    def __init__(self, work_dir):
        self.work_dir, self.seconds = work_dir, 1_000_000_000

    def _now(self, path):
        self.seconds += 1
        os.utime(path, (self.seconds, self.seconds))

    def file(self, epoch, data=WHOLE):
        path = self.work_dir / f'epoch_{epoch}.pth'
        path.write_bytes(data)
        self._now(path)

    def folder(self, epoch, files, data=WHOLE):
        folder = self.work_dir / f'epoch_{epoch}.pth'
        folder.mkdir(exist_ok=True)
        for name in files:
            (folder / name).write_bytes(data)
        for path in [folder, *(folder / name for name in files)]:
            self._now(path)

    def mark(self, epoch):
        """`CheckpointHook` does, when a checkpoint is finished."""
        path = self.work_dir / 'last_checkpoint'
        path.write_text(f'/another/place/epoch_{epoch}.pth')
        self._now(path)

    def newest(self):
        path = last_whole_checkpoint(self.work_dir)
        return path and int(Path(path).stem.removeprefix('epoch_'))


@pytest.fixture
def writer(tmp_path):
    return Writer(tmp_path)


@pytest.mark.parametrize(
    'broken',
    [HALF, b'', HALF + b'\xff' * 8 + WHOLE[len(HALF) + 8 :]],
    ids=['cut', 'empty', 'flipped'],
)
def test_a_broken_newest_file_is_passed_over(writer, broken):
    assert writer.newest() is None
    for epoch in (1, 2, 10):
        writer.file(epoch)
    assert writer.newest() == 10
    writer.file(10, broken)
    assert writer.newest() == 2
    (writer.work_dir / 'best_acc_epoch_3.pth').write_bytes(WHOLE)
    assert writer.newest() == 2


def test_a_missing_folder_has_none(tmp_path):
    assert last_whole_checkpoint(tmp_path / 'missing') is None


@pytest.mark.parametrize('files', FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_whole_when_the_run_has_marked_it(writer, files):
    writer.folder(1, files)
    assert writer.newest() is None  # more files may have been to come
    writer.mark(1)
    assert writer.newest() == 1
    writer.folder(2, files)
    assert writer.newest() == 1
    writer.mark(2)
    assert writer.newest() == 2


@pytest.mark.parametrize('files', FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize(
    'fault', ['next is empty', 'next is begun', 'written again', 'broken file']
)
def test_an_unfinished_folder_is_passed_over(writer, files, fault):
    for epoch in (1, 2):
        writer.folder(epoch, files)
        writer.mark(epoch)
    if fault.startswith('next'):
        writer.folder(3, files[: fault == 'next is begun'])
        assert writer.newest() == 2
        # Older ones need no mark: the run went on.
        (writer.work_dir / 'epoch_2.pth' / files[0]).write_bytes(HALF)
    elif fault == 'written again':
        # As after a new best score, or in a second run in the same place.
        writer.folder(2, files[:1])
    else:
        writer.folder(2, files[-1:], HALF)
        writer.mark(2)
    assert writer.newest() == 1


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
    assert is_whole(path)
