# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A run whose micro-batches DeepSpeed accumulates, and the same without it.

On the CPU, in float32 and one process.  Writes losses and rates of both to
``FOLDER/found.json``.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
for folder in (HERE.parent, HERE.parents[1], HERE.parents[1] / 'models'):
    sys.path.insert(0, str(folder))

import ca2st_mm  # noqa: E402, F401, I001  (mends and registers)
import tiny_models as tiny  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import FlexibleRunner  # noqa: E402
from runs import Clips, loader, recipe, tiny_model, train  # noqa: E402

MICRO = 2


def settings(work_dir):
    inputs = dict(imgs=tiny.video(8))
    config = dict(
        recipe(2),
        model=tiny_model(tiny.CAST, inputs),
        train_dataloader=loader(Clips(inputs, [0, 1, 2, 3] * 2), 2),
        work_dir=str(work_dir),
        randomness=dict(seed=1),
        checkpoint=dict(interval=99, save_last=False),
    )
    config['optim_wrapper']['accumulative_counts'] = MICRO
    return config


def with_deepspeed(config):
    wrapper = config['optim_wrapper']
    del wrapper['accumulative_counts']
    wrapper['type'] = 'DeepSpeedOptimWrapper'
    return dict(
        config,
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        strategy=dict(
            type='DeepSpeedStrategy',
            zero_optimization=dict(stage=2),
            gradient_accumulation_steps=MICRO,
        ),
    )


def main():
    folder = Path(sys.argv[1])
    init_default_scope('mmaction')
    found = {}
    plain = settings(folder / 'plain')
    _, found['plain'] = train(plain, name='plain')
    config = with_deepspeed(settings(folder / 'deepspeed'))
    _, found['deepspeed'] = train(config, engine=FlexibleRunner)
    text = json.dumps({name: [r.values, r.rates] for name, r in found.items()})
    (folder / 'found.json').write_text(text)


if __name__ == '__main__':
    main()
