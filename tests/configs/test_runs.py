# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every config trains, validates and tests, in miniature."""

import copy
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import paper
import pytest
import tiny_models as tiny
import torch
from media import write_world
from mmengine.config import Config
from mmengine.runner import Runner
from shrunk_models import shrink, shrink_loader, without_init
from test_configs import BUILT, CONFIGS, NAMES, load
from tool_runs import run_tool

from ca2st_mm.datasets.toy import write_toy_set

TOYS = [name for name in NAMES if name.startswith('toy/')]
TOY_CLIPS = 4
EPIC = {'acc/verb_top1', 'acc/action_top5', 'acc/action_product_top5'}
NUMBERS = {
    'data/epic_kitchens100': EPIC | {'acc/unseen_action_top1'},
    'data/hd_epic': EPIC,
    'data/epic_sounds': {'acc/top1', 'acc/mean1', 'acc/mAP', 'acc/mAUC'},
}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder whose ``data/`` holds ten small benchmarks."""
    root = tmp_path_factory.mktemp('world')
    write_world(root)
    return root


@pytest.mark.parametrize(
    'name', [name for name in BUILT if not name.startswith('toy/')]
)
def test_a_recipe_trains_and_tests(name, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    tiny.quiet()
    cfg = load(name)
    schedule = dict(cfg.param_scheduler[0].to_dict(), warmup=1, end=2)
    wrapper = dict(cfg.optim_wrapper.to_dict(), accumulative_counts=1)
    wrapper['optimizer']['lr'] = 1.0
    # Runner.from_cfg formats the config several times, a second each.
    runner = Runner(
        model=shrink(without_init(cfg.model.to_dict())),
        train_dataloader=shrink_loader(cfg.train_dataloader),
        val_dataloader=shrink_loader(cfg.val_dataloader),
        test_dataloader=shrink_loader(cfg.test_dataloader),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=2),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=cfg.val_evaluator,
        test_evaluator=cfg.test_evaluator,
        optim_wrapper=wrapper,
        param_scheduler=[schedule],
        default_hooks=dict(cfg.default_hooks.to_dict(), checkpoint=None),
        default_scope='mmaction',
        experiment_name=f'{tmp_path.name}',
        log_level='ERROR',
        work_dir=str(tmp_path),
        randomness=dict(seed=0),
    )
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    assert runner.iter == 2
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert 0 < loss < float('inf')
    after = runner.model.state_dict()
    changed = {k for k in before if not torch.equal(after[k], before[k])}
    trained = {
        n for n, p in runner.model.named_parameters() if p.requires_grad
    }
    known = set(dict(runner.model.named_parameters()))
    assert changed and changed & known <= trained
    # Every one had a gradient, or DistributedDataParallel would wait for it.
    stepped = runner.optim_wrapper.optimizer.state
    assert {
        n for n, p in runner.model.named_parameters() if p in stepped
    } == trained
    best = cfg.default_hooks.checkpoint.save_best
    assert f'val/{best}' in runner.message_hub.log_scalars
    check_test(runner, cfg, world)


def check_test(runner, cfg, world):
    """A test gives the numbers of its benchmark, and records the data."""
    metrics = runner.test()
    root = cfg.test_dataloader.dataset.data_root
    expected = NUMBERS.get(
        root.replace('hd_epic_sounds', 'epic_sounds'),
        {'acc/top1', 'acc/mean1'},
    )
    assert {cfg.default_hooks.checkpoint.save_best} | expected <= set(metrics)
    assert metrics['acc/num_used'] == metrics['acc/num_expected'] == 2
    [record] = Path(runner.work_dir).glob('*/results.json')
    data = json.loads(record.read_text())['data']
    assert data['manifest'].startswith(root)
    ann_file = (world / data['manifest']).read_bytes()
    assert data['manifest_sha256'] == hashlib.sha256(ann_file).hexdigest()


@pytest.fixture(scope='module')
def toy_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    clips = dict.fromkeys(('train', 'val', 'test'), TOY_CLIPS)
    write_toy_set(str(folder), clips)
    return folder


@pytest.mark.parametrize('name', TOYS)
def test_a_toy_config_trains_and_tests(name, toy_data, tmp_path, monkeypatch):
    tiny.quiet()
    cfg = load(name)
    # Experts that are trained elsewhere start at random here.
    cfg.model = without_init(cfg.model.to_dict())
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(
            batch_size=TOY_CLIPS // 2, num_workers=0, persistent_workers=False
        )
        loader.dataset.data_root = str(toy_data)
    cfg.train_cfg.update(max_epochs=1, val_begin=1)
    cfg.update(work_dir=str(tmp_path), log_level='ERROR')
    run = Runner.from_cfg(cfg)
    run.train()
    assert run.iter == 2
    loss = run.message_hub.get_scalar('train/loss').current()
    assert 0 < loss < float('inf')
    # Its schedule stands in epochs and moves in every iteration.
    rates = run.message_hub.get_scalar('train/lr').data[0]
    assert rates[0] < rates[1]
    # Every clip was tested: the share is so many quarters.
    hits = TOY_CLIPS * run.test()['acc/top1']
    assert hits == pytest.approx(round(hits)) and 0 <= hits <= TOY_CLIPS


def test_a_row_of_the_papers_runs_with_the_tools(world, tmp_path, monkeypatch):
    """`paper.py run` and `tools/{train,test}.py`, as on the benchmark."""
    monkeypatch.chdir(world)
    name = 't8/no_positions'
    cfg = Config.fromfile(CONFIGS / 'ablations' / f'{name}.py')
    cfg.model = shrink(without_init(cfg.model.to_dict()))
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader] = shrink_loader(cfg[loader])
    cfg.optim_wrapper.accumulative_counts = 1
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler[0].update(warmup=0, end=1)
    path = tmp_path / f'configs/ablations/{name}.py'
    path.parent.mkdir(parents=True)
    values = {k: v for k, v in cfg.to_dict().items() if k != 'filename'}
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in values.items()))
    monkeypatch.setattr(paper, 'CONFIGS', tmp_path / 'configs')

    def run_here(command):
        tool, *arguments = command[1:]
        return SimpleNamespace(
            returncode=run_tool(Path(tool).name, *arguments)
        )

    monkeypatch.setattr(paper.subprocess, 'run', run_here)
    out = tmp_path / 'out'
    flags = ['--rows', name, '--out', str(out)]
    monkeypatch.setattr('sys.argv', ['paper.py', 'run', 't8', *flags])
    paper.main()
    [row] = [row for row in paper.read_rows() if row['config'] == name]
    found = paper.measured(row, 'benchmark', out)
    assert set(found) == {'verb', 'noun', 'action'}
    for [percent] in found.values():  # of two clips
        assert percent in (0, 50, 100)
