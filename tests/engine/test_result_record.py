# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every test writes what its numbers depend on, and a change shows."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from diff_results import differences
from mmengine.dataset import Compose
from mmengine.runner import Runner
from runs import Clips, loader, tiny_model
from tool_runs import run_tool

from ca2st_mm.utils.hashing import sha256_of_tensors

VIEWS = 3


class ListedClips(Clips):
    """Has an annotation file and the names of transforms."""

    def __init__(self, ann_file):
        views = torch.stack([tiny.video(VIEWS, seed=i) for i in range(4)])
        super().__init__(dict(imgs=views), [0, 1, 0, 1])
        self.ann_file = ann_file
        self.pipeline = Compose(
            [dict(type='OpenVideo'), dict(type='LogMelSpectrogram')]
        )

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return dict(sample, inputs=dict(imgs=sample['inputs']['imgs'][0]))


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'list.csv').write_text('file,label\na.mp4,0\n')
    model = tiny_model(tiny.CAST, ['imgs'])
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    return dict(
        model=model,
        load_from=str(tmp_path / 'weights.pth'),
        test_dataloader=loader(ListedClips(str(tmp_path / 'list.csv')), 2),
        test_cfg=dict(),
        test_evaluator=dict(type='ClipAccMetric', topk=(1,)),
        custom_hooks=[dict(type='ResultRecordHook')],
        default_scope='mmaction',
        work_dir=str(tmp_path / 'work'),
    )


def run_test(config, name):
    runner = Runner(**config, experiment_name=name)
    metrics = runner.test()
    record = json.loads((Path(runner.log_dir) / 'results.json').read_text())
    return runner, metrics, record


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_what_is_written(config, tmp_path):
    runner, metrics, record = run_test(config, 'written')
    assert record['metrics'] == metrics
    data = record['data']
    assert data['manifest_sha256'] == sha256(tmp_path / 'list.csv')
    assert (data['clips'], data['views']) == (4, [VIEWS])
    assert [step[:9] for step in data['decoder']] == ['OpenVideo']
    assert len(data['pipeline']) == 2
    weights = record['weights']
    assert weights['checkpoint_sha256'] == sha256(tmp_path / 'weights.pth')
    assert weights['sha256'] == sha256_of_tensors(runner.model.state_dict())
    assert record['precision'] == dict(
        parameters=['torch.float32'], autocast='off', float32_matmul='highest'
    )
    assert record['environment']['torch'] == version('torch')


def test_what_changes_shows_and_nothing_else(config, tmp_path):
    _, _, first = run_test(config, 'first')
    _, _, again = run_test(config, 'again')
    assert differences(first, again) == []
    (tmp_path / 'list.csv').write_text('file,label\nb.mp4,0\n')
    changed = torch.load(tmp_path / 'weights.pth')
    changed['cls_head.fc_cls.bias'] += 1e-6
    torch.save(changed, tmp_path / 'weights.pth')
    _, _, other = run_test(config, 'other')
    keys = {d[0] for d in differences(first, other)}
    # so small a step may or may not move a score over another
    keys -= {key for key in keys if key.startswith('metrics.')}
    assert keys == {
        *('data.manifest_sha256', 'weights.sha256'),
        'weights.checkpoint_sha256',
    }


@pytest.fixture
def run(capsys):
    """Run a command line: (status, stdout, stderr)."""
    return lambda tool, *flags: (
        run_tool(f'analysis/{tool}', *flags),
        *capsys.readouterr(),
    )


@pytest.fixture
def two_files(tmp_path):
    paths = []
    for name, top1 in dict(a=0.716, b=0.853).items():
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps({'metrics': {'acc/top1': top1}, 'x': 1}))
        paths.append(str(path))
    return paths


def test_tools_compare_and_combine(two_files, tmp_path, run):
    a, b = two_files
    status, out, _ = run('diff_results.py', a, b)
    assert (status, out) == (1, 'metrics.acc/top1: 0.716 | 0.853\n')
    assert run('diff_results.py', a, a)[:2] == (0, 'no line differs\n')
    status, _, err = run('diff_results.py', a, str(tmp_path / 'c.json'))
    assert status == 2 and 'There is no file' in err
    numbers = [f'{path}:acc/top1' for path in two_files]
    _, out, _ = run('combine_results.py', '--mean', 'harmonic', *numbers)
    # CAST's SSV2 and K400; its paper prints 77.9
    assert out.splitlines()[-1] == '0.7785  harmonic mean'
