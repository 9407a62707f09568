# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the processes of a distributed run do; ``torchrun`` starts it.

Alone, it does the same in one process.  Writes what it found to
``FOLDER/RANK-of-WORLD.json``.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
for folder in (HERE.parent, HERE.parents[1], HERE.parents[1] / 'models'):
    sys.path.insert(0, str(folder))

import ca2st_mm  # noqa: E402, F401, I001  (fixes and registers)
import pytest  # noqa: E402
import tiny_models as tiny  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from runs import (  # noqa: E402
    CONFIGS,
    Clips,
    Losses,
    loader,
    quick_start,
    recipe,
    tiny_config,
    tiny_model,
    train,
)
from stalls import SlowClips, watched  # noqa: E402
from two_judges import judge_all  # noqa: E402

from ca2st_mm.engine import (  # noqa: E402
    NonFiniteLossError,
    last_whole_checkpoint,
)
from ca2st_mm.engine.launch import leave_process_group  # noqa: E402
from ca2st_mm.models.data_preprocessors import (  # noqa: E402
    MultiStreamBlending,
)
from ca2st_mm.models.layers.transformer import DropPath  # noqa: E402

RANK = int(os.environ.get('RANK', 0))
WORLD = int(os.environ.get('WORLD_SIZE', 1))
TRAINED, JUDGED, STEP, EPOCHS = 8, 5, 4, 2


def data(count, present):
    inputs = dict(
        tiny.streams(count), audios_present=torch.tensor(present[:count])
    )
    return inputs, [i % 4 for i in range(count)]


def settings(present):
    """A run with the same clips in a step for any number of processes."""
    inputs, labels = data(TRAINED, present)
    judged = Clips(*data(JUDGED, present))
    sampler = dict(
        type='WholeStepSampler', clips_per_step=STEP // WORLD, shuffle=True
    )
    distributed = dict(
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        cfg=dict(
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', device_ids=None
            )
        ),
    )
    return dict(
        recipe(EPOCHS),
        model=tiny_model(tiny.CA2ST, inputs),
        train_dataloader=loader(Clips(inputs, labels), STEP // WORLD, sampler),
        val_dataloader=loader(judged, batch_size=2),
        val_cfg=dict(),
        val_evaluator=dict(type='AudioVisualAccMetric'),
        randomness=dict(seed=3),
        **(distributed if WORLD > 1 else {}),
    )


def one_silent():
    """Of two processes the second gets silent clips only."""
    config = settings([1.0, 0.0] * TRAINED)
    config['train_dataloader']['sampler']['shuffle'] = False
    return config


def verbs_and_nouns(config):
    """The same with two labels, and nothing trained."""
    dims = {name: tiny.DIMS for name in tiny.CA2ST['experts']}
    head = ca2st_mm.models.heads.VerbNounHead(
        4, 3, dict(verb=dict(in_channels=dims), noun='verb'),
        average_clips='prob',
    )  # fmt: skip
    config['model'].cls_head = tiny.randomize(head)
    judged = config['val_dataloader']['dataset']
    labels = [torch.tensor([i % 4, i % 3]) for i in range(JUDGED)]
    config['val_dataloader']['dataset'] = Clips(judged.inputs, labels)
    config['val_evaluator'] = dict(type='VerbNounMetric')
    train_inputs = config['train_dataloader']['dataset'].inputs
    config['train_dataloader']['dataset'] = Clips(
        train_inputs, [torch.tensor([i % 4, i % 3]) for i in range(TRAINED)]
    )
    return config


def run(folder, name, config):
    runner, losses = train(
        config,
        name=name,
        work_dir=str(folder / f'{name}-{WORLD}'),
        checkpoint=dict(interval=99, save_last=False),
    )
    metrics = {
        key.removeprefix('val/'): float(values.current())
        for key, values in runner.message_hub.log_scalars.items()
        if key.startswith('val/') and 'time' not in key
    }
    loader_of = runner.train_dataloader
    heard = loader_of.dataset.inputs['audios_present']
    bare = getattr(runner.model, 'module', runner.model)
    weights = sum(
        p.double().abs().sum().item()
        for p in bare.parameters()
        if p.requires_grad
    )
    return dict(
        losses=list(losses.values.values()),
        rate=max(max(rates) for rates in losses.rates.values()),
        metrics=metrics,
        weights=weights,
        heard=[heard[i].item() for i in loader_of.sampler],
    )


def killed_and_resumed(folder):
    """Losses of a whole run and of a resumed one, each rank's own."""
    losses = []
    for name, kill_at, resume in (
        ('whole', None, False),
        ('broken', 3, False),
        ('broken', None, True),
    ):
        config = settings([1.0] * TRAINED)
        config['train_dataloader']['dataset'].shaken = True
        config['randomness']['diff_rank_seed'] = True
        work_dir = folder / f'{name}-{WORLD}'
        checkpoint = last_whole_checkpoint(work_dir) if resume else None
        seen = Losses(kill_at)
        try:
            train(
                config,
                seen,
                work_dir=str(work_dir),
                resume=resume,
                load_from=checkpoint,
            )
        except KeyboardInterrupt:
            continue
        losses.append(seen.values)
    return losses


class Draws(Losses):
    """Remembers the weights before the first step, and what was drawn."""

    def before_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        self.started = {
            name: value.double().sum().item()
            for name, value in model.state_dict().items()
        }
        self.shares, self.masks = [], []
        blending = model.data_preprocessor.blending
        blending.weights = self.weights_of(blending)
        self.paths = [
            m for m in model.modules() if isinstance(m, DropPath) and m.rate
        ]

    def weights_of(self, blending):
        def weights(lam, box):
            self.shares.append([lam, *box])
            return MultiStreamBlending.weights(blending, lam, box)

        return weights

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        ones = torch.ones(16, 1, 1, 1)
        self.masks.append(
            [path(ones).flatten().tolist() for path in self.paths]
        )


def random_draws(folder):
    """What a run draws that is seeded as our recipes are."""
    config = settings([1.0] * TRAINED)
    streams = config['train_dataloader']['dataset'].inputs
    links = [dict(link, drop_path_rate=0.5) for link in tiny.CA2ST['links']]
    model = tiny_config(dict(tiny.CA2ST, links=links), streams)
    model['data_preprocessor'].update(
        type='MultiStreamDataPreprocessor',
        blending=dict(type='MultiStreamBlending', cut=('audios',)),
    )
    # Built after the seed is set, so that each process starts elsewhere.
    config['model'] = model
    runtime = Config.fromfile(CONFIGS / '_base_/training.py')
    config['randomness'] = dict(runtime.randomness, seed=3)
    seen = Draws()
    train(config, seen, name='draws', work_dir=str(folder / f'draws-{WORLD}'))
    return dict(started=seen.started, shares=seen.shares, masks=seen.masks)


class Model(Losses):
    """Keeps the model of a run that ends with an error, too."""

    def before_train(self, runner):
        self.model = runner.model.module


def with_a_nan(folder, name, broken, micro=1):
    """Two steps an epoch: clips 0, 2 | 1, 3 and then 4, 6 | 5, 7."""
    config = settings([1.0] * TRAINED)
    clips = config['train_dataloader']
    clips['sampler']['shuffle'] = False
    for clip in broken:
        clips['dataset'].inputs['imgs'][clip].view(-1)[0] = torch.nan
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config.pop(key)
    config['param_scheduler'] = []
    config['optim_wrapper']['accumulative_counts'] = micro
    seen, message = Model(), None
    try:
        train(
            config,
            seen,
            name=name,
            work_dir=str(folder / name),
            non_finite_loss=dict(patience=2),
            checkpoint=dict(interval=99, save_last=False),
        )
    except NonFiniteLossError as error:
        message = str(error)
    trained = (p for p in seen.model.parameters() if p.requires_grad)
    return dict(
        message=message,
        losses=[str(loss) for loss in seen.values.values()],
        weights=sum(p.detach().double().abs().sum().item() for p in trained),
    )


def stalled(folder):
    """The second process takes long to read a batch of an awkward epoch.

    Experts are frozen, every second clip is silent, nine clips are no whole
    number of steps, and the last batch is smaller.
    """
    present = [1.0, 0.0] * 9
    # In order, rank 1 reads clips 1, 3, then 5, 7, then 0 to have as many.
    slow = [5] if RANK == 1 else []
    config = settings(present)
    config.update(
        train_dataloader=loader(SlowClips(*data(9, present), slow, 1.5), 2),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[*config['custom_hooks'], watched(0.3)],
    )
    return len(train(config, work_dir=str(folder / 'stalled'))[1].values)


def threads_of_gloo():
    """Names of those that Python's end would kill; Linux lists them."""
    names = [
        task.read_text() for task in Path('/proc/self/task').glob('*/comm')
    ]
    return [name.strip() for name in names if 'gloo' in name]


def main():
    folder = Path(sys.argv[1])
    init_default_scope('mmaction')
    quick_start(pytest.MonkeyPatch())
    torch.manual_seed(0)
    half = [1.0, 0.0] * TRAINED
    found = dict(
        sound=run(folder, 'sound', settings([1.0] * TRAINED)),
        silent=run(folder, 'silent', settings([0.0] * TRAINED)),
        one_silent=run(folder, 'one_silent', one_silent()),
        verbs=run(folder, 'verbs', verbs_and_nouns(settings(half))),
        resumed=killed_and_resumed(folder),
        draws=random_draws(folder),
        judged=judge_all(),
    )
    if WORLD > 1:
        found.update(
            second=with_a_nan(folder, 'second', [1, 5]),
            in_turn=with_a_nan(folder, 'in_turn', [1, 4]),
            once=with_a_nan(folder, 'once', [5]),
            micro=with_a_nan(folder, 'micro', [1], micro=2),
            stalled=stalled(folder),
        )
    (folder / f'{RANK}-of-{WORLD}.json').write_text(json.dumps(found))
    leave_process_group()
    (folder / f'{RANK}-of-{WORLD}-threads.json').write_text(
        json.dumps(threads_of_gloo())
    )


if __name__ == '__main__':
    main()
