# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The recipe trains as a loop in plain PyTorch does, step by step."""

import functools
import math
import re

import pytest
import torch
from runs import RATE, Clips, Losses, loader, recipe, train
from torch.nn import functional as F
from trained_cases import CLIPS, SEED, BlendedCase, TrainedCase

STEP = 2  # clips of an optimizer step
EPOCHS, FEWER = 4, 2  # of two steps; the first of them warms up
LAYER_DECAY, WEIGHT_DECAY = 0.75, 0.05
# With the micro-batches of a step (each equals full batches of plain PyTorch)
# and the epochs.
CASES = [
    ('cast_tiny_single', 2, EPOCHS),
    ('cava_tiny_compo', 1, EPOCHS),  # a verb and a noun
    ('ca2st_tiny_share', 2, FEWER),  # costs the most
]


class Seeded(Losses):
    """Sets the seed before every step, to draw what the plain loop does."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        torch.manual_seed(SEED + runner.iter)


def plain_rule(name, parameter, layers, layer_decay, weight_decay):
    """Rate and decay of a parameter, written down once more."""
    scale = 1.0
    if found := re.search(r'\.(layers|links)\.(\d+)\.', name):
        scale = layer_decay ** (layers - int(found.group(2)))
    kept = parameter.ndim > 1 and not name.endswith('_table')
    return scale, weight_decay if kept else 0.0


def plain_rates(epochs):
    """The rate of every step: up in a line, down in a cosine."""
    top = RATE * STEP / 256
    steps = CLIPS // STEP
    warmup, total = steps, steps * epochs
    rates = [top * i / (warmup - 1) for i in range(warmup)]
    low = 1e-3 * top
    rates += [
        low + (top - low) * (1 + math.cos(math.pi * i / (total - warmup))) / 2
        for i in range(total - warmup)
    ]
    return rates


def plain_loop(
    case, epochs=EPOCHS, layer_decay=LAYER_DECAY, weight_decay=WEIGHT_DECAY
):
    """Losses of each step, by nothing but PyTorch."""
    model = case.trainable().train()
    inputs, labels = case.data()
    depth = case.spec['depth']
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale, decay = plain_rule(
                name, parameter, depth, layer_decay, weight_decay
            )
            groups.append(
                dict(params=[parameter], scale=scale, weight_decay=decay)
            )
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999))
    losses = []
    for step, rate in enumerate(plain_rates(epochs)):
        for group in optimizer.param_groups:
            group['lr'] = rate * group['scale']
        start = step * STEP % CLIPS
        now = slice(start, start + STEP)
        batch, targets = case.batch(
            {key: value[now] for key, value in inputs.items()},
            labels[now],
            step,
        )
        logits = model.cls_head(model.backbone(**batch))
        logits = logits.values() if isinstance(logits, dict) else [logits]
        loss = sum(
            F.cross_entropy(scores, targets[:, task])
            for task, scores in enumerate(logits)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def our_losses(
    case, tmp_path, micro_batches=1, epochs=EPOCHS, losses=None, **wrapper
):
    config = recipe(epochs)
    config['optim_wrapper'].update(
        accumulative_counts=micro_batches, **wrapper
    )
    runner, losses = train(
        config,
        losses,
        model=case.trainable(),
        train_dataloader=loader(Clips(*case.data()), STEP // micro_batches),
        work_dir=str(tmp_path / f'{case.name}-{micro_batches}'),
        checkpoint=dict(interval=99),
    )
    values = list(losses.values.values())
    return [
        sum(values[i : i + micro_batches]) / micro_batches
        for i in range(0, len(values), micro_batches)
    ]


@functools.cache
def curve(name='cast_tiny_single', epochs=EPOCHS):
    return plain_loop(TrainedCase(name), epochs)


@pytest.mark.parametrize('name, micro_batches, epochs', CASES)
def test_losses_equal_those_of_a_plain_loop(
    name, micro_batches, epochs, tmp_path
):
    case = TrainedCase(name)
    expected = curve(name, epochs)
    found = our_losses(case, tmp_path, micro_batches, epochs)
    assert found == pytest.approx(expected, rel=1e-5)
    # There was something to get wrong.
    assert abs(expected[-1] - expected[0]) > 0.02


def test_blended_batches_train_as_in_a_plain_loop(tmp_path):
    case = BlendedCase('cava_tiny_time')
    expected = plain_loop(case)
    found = our_losses(case, tmp_path, losses=Seeded())
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    'wrong', [dict(layer_decay=1.0), dict(weight_decay=0.0)]
)
def test_the_curve_shows_each_decay(wrong):
    """A tenth of its effect would be seen by the tests above."""
    case = TrainedCase('cast_tiny_single')
    without = plain_loop(case, **wrong)
    assert abs(without[-1] / curve()[-1] - 1) > 1e-4


def test_bfloat16_stays_near_float32(tmp_path):
    case = TrainedCase('cast_tiny_single')
    found = our_losses(case, tmp_path, type='BFloat16OptimWrapper')
    assert found != pytest.approx(curve(), rel=1e-5)
    # bfloat16 keeps 8 bits: 2 ** -8 is 0.4 %; a step of 3 % would be a fault.
    assert found == pytest.approx(curve(), rel=0.03)
