# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A loss that is not finite moves no weight, and its cause is named."""

import weakref
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from runs import Clips, loader, recipe, tiny_model, train

from ca2st_mm.engine import NonFiniteLossError
from ca2st_mm.engine.non_finite_loss import name_clips
from ca2st_mm.structures import Stream

CLIPS, BATCH = 8, 2
FULL, HALF = {}, dict(type='BFloat16OptimWrapper')
LINK = 'backbone.links.1.spatial_audio.b_from_a'


class Poison(Hook):
    """Puts a NaN into a parameter before an iteration."""

    def __init__(self, name, at):
        self.name, self.at = name, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at:
            with torch.no_grad():
                runner.model.get_parameter(self.name).view(-1)[0] = torch.nan


class Moves(Hook):
    """Remembers in which iterations a trained weight moved."""

    def __init__(self):
        self.iterations = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = self._weights(runner)

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        if not torch.equal(self.before, self._weights(runner)):
            self.iterations.append(runner.iter + 1)

    @staticmethod
    def _weights(runner):
        trained = (p for p in runner.model.parameters() if p.requires_grad)
        return torch.cat([p.detach().flatten() for p in trained])


def settings(tmp_path, broken=(), hooks=(), patience=1, **wrapper):
    """CA2ST on noise; the sound of broken clips has one NaN."""
    inputs = tiny.streams(CLIPS)
    for clip in broken:
        inputs['audios'][clip].view(-1)[3] = torch.nan
    labels = [i % 4 for i in range(CLIPS)]
    config = recipe(epochs=2)
    config['optim_wrapper'].update(wrapper)
    config['custom_hooks'] += hooks
    config['param_scheduler'] = []  # the first step moves the weights, too
    return dict(
        config,
        model=tiny_model(tiny.CA2ST, inputs),
        train_dataloader=loader(Clips(inputs, labels), BATCH),
        work_dir=str(tmp_path / 'work'),
        randomness=dict(seed=1),
        non_finite_loss=dict(patience=patience),
    )


def message_of(config):
    """Why a run stopped."""
    with pytest.raises(NonFiniteLossError) as error:
        train(config)
    return str(error.value)


def test_a_clip_with_a_nan_is_named(tmp_path):
    config = settings(tmp_path, [5], clip_grad=dict(max_norm=1.0), **HALF)
    message = message_of(config)
    assert 'in iterations 3 to 3' in message
    assert 'clips: id 4, id 5 (not finite: audios)' in message
    assert 'the inputs of the model are not finite' in message
    assert 'module' not in message and 'weight' not in message.split(')')[0]
    assert 'There is no checkpoint with finite weights' in message


@pytest.mark.parametrize(
    ('parameter', 'precision'),
    [
        ('backbone.experts.temporal.layers.1.ffn.adapter.down.weight', FULL),
        (f'{LINK}.attn.proj.bias', HALF),
        ('cls_head.fc_cls.weight', FULL),
    ],
)
def test_a_module_with_a_nan_is_named(tmp_path, parameter, precision):
    config = settings(tmp_path, hooks=[Poison(parameter, at=3)], **precision)
    message = message_of(config)
    assert f'the weight {parameter} is not finite' in message
    assert f'the first module is {parameter.rpartition(".")[0]} (' in message
    assert 'inputs of the model' not in message
    assert '(not finite:' not in message  # no clip is to blame


@pytest.fixture
def warnings(monkeypatch):
    seen = []
    monkeypatch.setattr(MMLogger, 'warning', lambda _, text: seen.append(text))
    return seen


@pytest.mark.parametrize(
    ('micro', 'bad', 'moved'),
    [(1, (3, 7), [1, 2, 4, 5, 6, 8]), (3, (1, 5), [8])],
)
def test_below_the_patience_its_step_is_left_out(
    tmp_path, warnings, micro, bad, moved
):
    """Also if an earlier micro-batch of the step was bad."""
    clip = (bad[0] - 1) * BATCH
    moves = Moves()
    config = settings(
        tmp_path,
        [clip],
        [moves],
        patience=2,
        **HALF,
        accumulative_counts=micro,
    )
    runner, _ = train(config)
    assert moves.iterations == moved
    told = [text for text in warnings if 'not finite' in text]
    names = f'Clips of rank 0: id {clip} (not finite: audios), id {clip + 1}'
    for text, iteration in zip(told, bad, strict=True):
        assert f'iteration {iteration} (1 in a row' in text
        assert text.endswith(f'its step is left out. {names}')
    assert all(bool(p.isfinite().all()) for p in runner.model.parameters())


@pytest.mark.parametrize('deepspeed', [False, True])
def test_the_last_checkpoint_with_finite_weights_is_named(tmp_path, deepspeed):
    """A NaN that the optimizer did not bring can be in a checkpoint."""
    hooks = [Poison('cls_head.fc_cls.bias', at=3)]
    config = settings(tmp_path, hooks=hooks, patience=2)
    config['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=8)
    config['checkpoint'] = dict(interval=1, by_epoch=False, max_keep_ckpts=9)
    if deepspeed:  # whose runs are not resumed
        config['cfg'] = dict(strategy=dict(type='DeepSpeedStrategy'))
    message = message_of(config)
    work = Path(config['work_dir'])
    assert 'in iterations 3 to 4' in message
    flag = '--cfg-options load_from=' if deepspeed else '--resume '
    assert message.endswith(f'{flag}{work / "iter_2.pth"}')
    # None is written when the run stops.
    names = {path.name for path in work.glob('*.pth')}
    assert names == {f'iter_{i}.pth' for i in (1, 2, 3)}


class Batches(Hook):
    """Sees whether the batches of earlier steps are gone."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.kept, self.alive = [], []

    def before_train(self, runner):
        runner.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, model, args, kwargs):
        self.kept.append(weakref.ref(kwargs['inputs']['imgs'].values))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.alive += [ref for ref in self.kept if ref() is not None]


def test_no_batch_outlives_its_step(tmp_path):
    batches = Batches()
    train(settings(tmp_path, [4], [batches], patience=2))
    assert len(batches.kept) == 2 * CLIPS / BATCH
    assert batches.alive == []


@pytest.mark.parametrize('kind', ['tensors', 'streams', 'one input'])
def test_clips_are_named_whatever_the_form_of_inputs(kind):
    audio = torch.zeros(2, 3)
    audio[1, 2] = torch.inf
    inputs = {
        'tensors': dict(imgs=torch.zeros(2, 3), audios=audio),
        'streams': dict(audios=Stream(list(audio), present=torch.ones(2))),
        'one input': audio,
    }[kind]
    names = [dict(clip_id='a'), dict(filename='b.mp4')]
    name = 'inputs' if kind == 'one input' else 'audios'
    found = name_clips(dict(inputs=inputs, data_samples=names))
    assert found == f'a, b.mp4 (not finite: {name})'
