# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What one process or several of them train and measure, on tiny models."""

import faulthandler
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

if __name__ == '__main__':  # one of two processes has no conftest.py
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import conftest  # noqa: F401

import tiny_models as tiny
import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from runs import (
    VERB_NOUN,
    Clips,
    Losses,
    SlowClips,
    loader,
    read_config,
    recipe,
    tiny_config,
    tiny_model,
    train,
    watched,
)

from ca2st_mm.engine import NonFiniteLossError, last_whole_checkpoint
from ca2st_mm.engine.interruption import InterruptionHook
from ca2st_mm.engine.launch import UsageError, leave_process_group, resume
from ca2st_mm.models.layers.transformer import DropPath

TRAINED, JUDGED, STEP, EPOCHS = 8, 5, 4, 2
# By name of a run: the metric, and the clip that cannot be read; clip 0 is
# judged twice by two processes.
RUNS = dict(
    one=(dict(type='SoundEventMetric', topk=(1, 2)), 0),
    verbs=(
        dict(
            type='EpicKitchensMetric',
            topk=(1, 2),
            unseen_participants=['P02'],
            tail_verbs=[1, 2],
            tail_nouns=[2],
        ),
        3,
    ),
)
HALF = [1.0, 0.0]  # which of two clips have audio
STREAMS = ('imgs', 'audios')
ENGINES = ('plain', 'ddp', 'fsdp')


def world():
    return int(os.environ.get('WORLD_SIZE', 1))


def data(count, present):
    inputs = dict(
        tiny.streams(count),
        audios_present=torch.tensor((present * TRAINED)[:count]),
    )
    return inputs, [i % 4 for i in range(count)]


def settings(present):
    """A run with the same clips in a step for any number of processes."""
    inputs, labels = data(TRAINED, present)
    batch = STEP // world()
    sampler = dict(type='WholeStepSampler', clips_per_step=batch, shuffle=True)
    config = dict(
        recipe(EPOCHS),
        model=tiny_model(tiny.CA2ST, inputs),
        train_dataloader=loader(Clips(inputs, labels), batch, sampler),
        randomness=dict(seed=3),
        checkpoint=dict(interval=99, save_last=False),
    )
    if world() > 1:
        wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
        config.update(
            launcher='pytorch',
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
            cfg=dict(model_wrapper_cfg=wrapper),
        )
    return config


def learns(folder, name):
    """Losses, weights and metrics of a run; ``verbs`` has two labels."""
    config, (metric, bad) = settings(HALF), RUNS[name]
    names = [f'P0{1 + i % 2}_{i}.mp4' for i in range(JUDGED)]
    judged = Clips(*data(JUDGED, HALF), names=names, bad=bad)
    config.update(
        val_dataloader=loader(judged, 2),
        val_cfg=dict(),
        val_evaluator=dict(type='ReadableClips', metric=metric),
    )
    clips = config['train_dataloader']
    if name == 'one':  # of two processes, the second gets no audio at all
        clips['sampler']['shuffle'] = False
    else:
        config['model'].cls_head = tiny.noisy(VERB_NOUN)
        for part in (clips['dataset'], judged):
            part.labels = [
                torch.tensor([i % 4, i % 3]) for i in range(len(part))
            ]
    runner, losses = train(config, name=name, work_dir=str(folder / name))
    bare = getattr(runner.model, 'module', runner.model)
    present = clips['dataset'].inputs['audios_present']
    return dict(
        losses=list(losses.values.values()),
        lr=max(max(rates) for rates in losses.rates.values()),
        metrics={
            key.removeprefix('val/'): float(values.current())
            for key, values in runner.message_hub.log_scalars.items()
            if key.startswith('val/') and 'time' not in key
        },
        weights=sum_of(bare),
        present=[present[i].item() for i in runner.train_dataloader.sampler],
    )


def sum_of(model):
    trained = (p for p in model.parameters() if p.requires_grad)
    return sum(p.detach().double().abs().sum().item() for p in trained)


def engine_settings(engine):
    """A run whose order, clips and paths are drawn; one clip a batch."""
    config = settings([1.0])
    config.update(checkpoint={})
    clips = config['train_dataloader']
    clips['dataset'].shaken, clips['batch_size'] = True, 1
    clips['sampler']['clips_per_step'] = 1
    config['randomness']['diff_rank_seed'] = True
    wrapper = config.get('cfg', {}).get('model_wrapper_cfg')
    if engine == 'ddp':
        config['strategy'] = dict(type='DDPStrategy', model_wrapper=wrapper)
    if engine == 'fsdp':
        fsdp = read_config('_base_/strategies/fsdp.py').strategy.to_dict()
        # Tiny blocks are units, too, next to what stays with the model.
        fsdp['model_wrapper']['auto_wrap_policy'] = dict(
            type='wrap_blocks', min_params=500
        )
        config['strategy'] = fsdp
    return config


class Stops(Losses):
    """Sends the last rank a signal in an iteration, or not at all."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        super().after_train_iter(runner, *args, **kwargs)
        if runner.iter == self.at and runner.rank == runner.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def resumed(folder, engine):
    """Losses of a whole run and of a resumed one, each rank's own."""
    found = []
    folder = folder / engine
    kind = Runner if engine == 'plain' else FlexibleRunner
    for name, stops in (('whole', None), ('broken', 4), ('broken', None)):
        config = dict(engine_settings(engine), work_dir=str(folder / name))
        interruption = InterruptionHook()
        config['custom_hooks'] = [*config['custom_hooks'], interruption]
        checkpoint = last_whole_checkpoint(folder / name)
        losses = Stops(stops)
        try:
            with interruption:
                train(
                    config,
                    losses,
                    engine=kind,
                    resume=checkpoint is not None,
                    load_from=checkpoint,
                )
        except KeyboardInterrupt as error:
            said = str(error)
            continue
        found.append(losses.values)
    return [*found, said]


class Draws(Losses):
    """Remembers the weights before the first step, and what is dropped."""

    def before_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        self.started = {
            name: value.double().sum().item()
            for name, value in model.state_dict().items()
        }
        self.masks = []
        self.paths = [
            m for m in model.modules() if isinstance(m, DropPath) and m.rate
        ]

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        ones = torch.ones(16, 1, 1, 1)
        self.masks.append(
            [path(ones).flatten().tolist() for path in self.paths]
        )


def random_draws(folder):
    """What a run draws that is seeded as our recipes are."""
    config = settings([1.0])
    links = [dict(link, drop_path_rate=0.5) for link in tiny.CA2ST['links']]
    model = tiny_config(dict(tiny.CA2ST, links=links), STREAMS)
    # Built after the seed is set, so that each process starts elsewhere.
    config['model'] = model
    runtime = read_config('_base_/training.py')
    config['randomness'] = dict(runtime.randomness, seed=3)
    seen = Draws()
    train(config, seen, name='draws', work_dir=str(folder / 'draws'))
    return dict(started=seen.started, masks=seen.masks)


class Model(Losses):
    """Keeps the model of a run that ends with an error, too."""

    def before_train(self, runner):
        self.model = runner.model.module


def with_a_nan(folder, name, broken, micro=1):
    """Two steps an epoch: clips 0, 2 | 1, 3 and then 4, 6 | 5, 7."""
    config = settings([1.0])
    clips = config['train_dataloader']
    clips['sampler']['shuffle'] = False
    for clip in broken:
        clips['dataset'].inputs['imgs'][clip].view(-1)[0] = torch.nan
    config['param_scheduler'] = []
    config['optim_wrapper']['accumulative_counts'] = micro
    config['non_finite_loss'] = dict(patience=2)
    seen, message = Model(), None
    try:
        train(config, seen, name=name, work_dir=str(folder / name))
    except NonFiniteLossError as error:
        message = str(error)
    return dict(
        message=message,
        losses=[str(loss) for loss in seen.values.values()],
        weights=sum_of(seen.model),
    )


def stalled(folder):
    """The second process takes long to read a batch of an awkward epoch.

    Experts are frozen, every second clip has no audio, nine clips are no whole
    number of steps, and the last batch is smaller.
    """
    # In order, rank 1 reads clips 1, 3, then 5, 7, then 0 to have as many.
    slow = [5] if os.environ['RANK'] == '1' else []
    config = settings(HALF)
    config.update(
        param_scheduler=[], train_cfg=dict(by_epoch=True, max_epochs=1)
    )
    config['train_dataloader'] = loader(
        SlowClips(*data(9, HALF), slow, partial(time.sleep, 1.5)), 2
    )
    config['custom_hooks'] = [*config['custom_hooks'], watched(0.3)]
    return len(train(config, work_dir=str(folder / 'stalled'))[1].values)


def stalled_for_good(folder):
    """The second process never reads its second batch."""
    slow = [5] if os.environ['RANK'] == '1' else []
    config = dict(
        settings([1.0]),
        param_scheduler=[],
        train_dataloader=loader(
            SlowClips(*data(8, [1.0]), slow, partial(time.sleep, 600)), 2
        ),
        work_dir=str(folder / 'stalled_for_good'),
    )
    watch = watched(60)
    if slow:
        watch['end_minutes'] = 5 / 60
    config['custom_hooks'] = [*config['custom_hooks'], watch]
    train(config)


def refused(folder):
    """What this process says when rank 0 refuses."""
    try:
        resume(Config(dict(work_dir=str(folder))), 'lost.pth')
    except UsageError as error:
        return str(error)


def find_all(folder):
    """Everything, by name; some of it for two processes only."""
    torch.manual_seed(0)
    found = {name: learns(folder, name) for name in RUNS}
    found['draws'] = random_draws(folder)
    if world() > 1:
        found.update(
            resumed={engine: resumed(folder, engine) for engine in ENGINES},
            in_turn=with_a_nan(folder, 'in_turn', [1, 4]),
            micro=with_a_nan(folder, 'micro', [1], micro=2),
            stalled=stalled(folder),
            refused=refused(folder),
        )
    return found


def threads_of_gloo():
    """Names of those that Python's end would kill; Linux lists them."""
    names = [
        task.read_text() for task in Path('/proc/self/task').glob('*/comm')
    ]
    return [name.strip() for name in names if 'gloo' in name]


def main(folder, port, port_of_the_stall):
    """What a process of two does: it writes ``RANK.json``, then stalls."""
    faulthandler.dump_traceback_later(800, exit=True)
    os.environ['MASTER_PORT'] = port
    found = find_all(folder / 'two')
    leave_process_group()
    text = json.dumps(dict(found, threads=threads_of_gloo()))
    (folder / f'{os.environ["RANK"]}.json').write_text(text)
    os.environ['MASTER_PORT'] = port_of_the_stall
    stalled_for_good(folder)


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
