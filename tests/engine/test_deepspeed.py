# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""DeepSpeed accumulates by itself; learning rates and losses stay the same.

On the CPU, in float32 and two processes, which this file is started as.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
MICRO = 2


def settings(work_dir):
    import tiny_models as tiny
    from runs import Clips, loader, recipe, tiny_model

    inputs = dict(imgs=tiny.video(8))
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    config = dict(
        recipe(2),
        model=tiny_model(tiny.CAST, inputs),
        train_dataloader=loader(Clips(inputs, [0, 1, 2, 3] * 2), 1),
        work_dir=str(work_dir),
        randomness=dict(seed=1),
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        cfg=dict(model_wrapper_cfg=wrapper),
    )
    config['optim_wrapper']['accumulative_counts'] = MICRO
    return config


def with_deepspeed(config):
    wrapper = config['optim_wrapper']
    del wrapper['accumulative_counts']
    wrapper['type'] = 'DeepSpeedOptimWrapper'
    return dict(
        config,
        cfg=dict(),
        checkpoint=dict(save_optimizer=False),  # as launch sets it
        strategy=dict(
            type='DeepSpeedStrategy',
            zero_optimization=dict(stage=2),
            gradient_accumulation_steps=MICRO,
        ),
    )


def main():
    """Write losses and rates with and without it to FOLDER/RANK.json."""
    from mmengine.registry import init_default_scope
    from mmengine.runner import FlexibleRunner
    from runs import train

    from ca2st_mm.checkpoints import load_weights

    init_default_scope('mmaction')
    folder = Path(sys.argv[1])
    found = {}
    plain = settings(folder / 'plain')
    _, found['plain'] = train(plain, name='plain')
    config = with_deepspeed(settings(folder / 'deepspeed'))
    _, found['deepspeed'] = train(config, engine=FlexibleRunner)
    text = json.dumps({name: [r.values, r.rates] for name, r in found.items()})
    rank = os.environ['RANK']
    (folder / f'{rank}.json').write_text(text)
    # Its checkpoints are those of other runs, for tests and fine-tuning.
    path = folder / 'deepspeed' / 'epoch_2.pth'
    load_weights(settings(folder)['model'], path)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it compiles its C++ at first: 10 min, if busy
@pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None,
    reason='DeepSpeed is not installed (pip install deepspeed==0.16.9)',
)
def test_the_same_losses_and_rates_as_without_it(tmp_path):
    paths = [ROOT, ROOT / 'tests', HERE.parent, ROOT / 'tests/models']
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(map(str, paths)),
        DS_ACCELERATOR='cpu',
        CUDA_VISIBLE_DEVICES='',
        OMP_NUM_THREADS='1',
    )
    torchrun = ['-m', 'torch.distributed.run', '--standalone']
    run = subprocess.run(
        [
            *[sys.executable, *torchrun, '--nproc-per-node=2'],
            *[str(HERE), str(tmp_path)],
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        losses, rates = found['plain']
        assert len(losses) == 8
        assert found['deepspeed'][0] == pytest.approx(losses, rel=1e-6)
        assert found['deepspeed'][1] == rates


if __name__ == '__main__':
    main()
