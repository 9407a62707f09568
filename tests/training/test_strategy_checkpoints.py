# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checkpoints of MMEngine's strategies, which are written in place."""

import copy
import os
import runpy

import pytest
import tiny_models as tiny
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.runner import FlexibleRunner
from runs import CONFIGS, Clips, loader, recipe, tiny_model, train

from ca2st_mm.engine.whole_checkpoints import last_whole_checkpoint

# What DeepSpeed and FSDP with local states write for two processes.
LAYOUTS = dict(
    deepspeed=[
        'mp_rank_00_model_states.pt',
        'zero_pp_rank_0_mp_rank_00_optim_states.pt',
        'zero_pp_rank_1_mp_rank_00_optim_states.pt',
    ],
    fsdp=['rank0.pth', 'rank1.pth'],
)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


class Writer:
    """Writes as a run does, a second later each time."""

    def __init__(self, work_dir):
        self.work_dir, self.seconds = work_dir, 1_000_000_000

    def _now(self, path):
        self.seconds += 1
        os.utime(path, (self.seconds, self.seconds))

    def folder(self, epoch, files):
        folder = self.work_dir / f'epoch_{epoch}.pth'
        folder.mkdir(exist_ok=True)
        for name in files:
            torch.save(dict(values=torch.arange(100)), folder / name)
        for path in [folder, *(folder / name for name in files)]:
            self._now(path)
        return folder

    def mark(self, folder):
        """`CheckpointHook` does, when a checkpoint is finished."""
        path = self.work_dir / 'last_checkpoint'
        path.write_text(f'/another/place/{folder.name}')
        self._now(path)


def newest(work_dir):
    path = last_whole_checkpoint(work_dir)
    return path and os.path.basename(path)


def test_a_folder_is_whole_when_the_run_has_marked_it(tmp_path, layout):
    writer = Writer(tmp_path)
    assert newest(tmp_path) is None
    first = writer.folder(1, layout)
    assert newest(tmp_path) is None  # more files may have been to come
    writer.mark(first)
    assert newest(tmp_path) == 'epoch_1.pth'
    second = writer.folder(2, layout)
    assert newest(tmp_path) == 'epoch_1.pth'
    writer.mark(second)
    assert newest(tmp_path) == 'epoch_2.pth'


@pytest.mark.parametrize('written', [0, 1])
def test_an_unfinished_folder_is_passed_over(tmp_path, layout, written):
    writer = Writer(tmp_path)
    writer.mark(writer.folder(1, layout))
    writer.mark(writer.folder(2, layout))
    writer.folder(3, layout[:written])
    assert newest(tmp_path) == 'epoch_2.pth'
    # Older ones need no mark: the run went on.
    (tmp_path / 'epoch_2.pth' / layout[0]).write_bytes(b'half')
    assert newest(tmp_path) == 'epoch_1.pth'


def test_a_folder_that_is_written_again_is_not_whole(tmp_path, layout):
    """As after a new best score, or in a second run in the same place."""
    writer = Writer(tmp_path)
    writer.mark(writer.folder(1, layout))
    writer.mark(writer.folder(2, layout))
    writer.folder(2, layout[:1])
    assert newest(tmp_path) == 'epoch_1.pth'


def test_a_broken_file_breaks_its_folder(tmp_path, layout):
    writer = Writer(tmp_path)
    writer.mark(writer.folder(1, layout))
    second = writer.folder(2, layout)
    whole = (second / layout[-1]).read_bytes()
    (second / layout[-1]).write_bytes(whole[: len(whole) // 2])
    writer.mark(second)
    assert newest(tmp_path) == 'epoch_1.pth'


class Killed(BaseException):
    """Nothing catches it."""


def test_the_flexible_runner_goes_on_after_a_kill_while_it_writes(
    tmp_path, monkeypatch
):
    inputs = dict(imgs=tiny.video(4))
    config = dict(
        recipe(3),
        model=tiny_model(tiny.CAST, inputs),
        train_dataloader=loader(
            Clips(inputs, [0, 1, 2, 3], shaken=True),
            2,
            dict(type='DefaultSampler', shuffle=True),
        ),
        randomness=dict(seed=1),
        strategy=dict(type='SingleDeviceStrategy'),
    )

    def run(name, **changes):
        changes['work_dir'] = str(tmp_path / name)
        copied = copy.deepcopy(config)
        return train(copied, engine=FlexibleRunner, **changes)[1].values

    expected = run('unbroken')
    whole_put = LocalBackend.put

    def put(self, obj, filepath):
        if 'epoch_2' not in str(filepath):
            return whole_put(self, obj, filepath)
        whole_put(self, obj[: len(obj) // 2], filepath)
        raise Killed

    monkeypatch.setattr(LocalBackend, 'put', put)
    with pytest.raises(Killed):
        run('killed')
    monkeypatch.undo()
    assert (tmp_path / 'killed/epoch_2.pth').exists()
    checkpoint = last_whole_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('epoch_1.pth')
    after = run('killed', resume=True, load_from=checkpoint)
    assert after == {i: expected[i] for i in range(2, 6)}


def test_without_a_whole_checkpoint_the_tool_starts_anew(
    tmp_path, capsys, monkeypatch
):
    tool = runpy.run_path(str(CONFIGS.parent / 'tools' / 'train.py'))
    (tmp_path / 'epoch_1.pth').write_bytes(b'half')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    monkeypatch.setattr('sys.argv', ['train.py', 'any.py', '--resume'])
    flags = tool['parse_args']()
    cfg = Config(dict(work_dir=str(tmp_path), load_from='experts.pth'))
    tool['apply_flags'](cfg, flags)
    assert cfg.resume is False
    assert cfg.load_from == 'experts.pth'
    assert 'no whole checkpoint' in capsys.readouterr().out
