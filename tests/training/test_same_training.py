# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The recipe trains as a loop in plain PyTorch does, step by step."""

import copy
import math
import re

import pytest
import torch
from golden_cases import GoldenCase, normal
from mmaction.registry import MODELS
from runs import RATE, Clips, loader, preprocessor, recipe, train
from torch.nn import functional as F

CLIPS, EPOCHS = 4, 2
STEP = 2  # clips of an optimizer step
# With the micro-batches of a step: each equals full batches of plain PyTorch.
CASES = [
    ('cast_tiny_single', 1),
    ('cast_tiny_single', 2),
    ('cava_tiny_time', 1),
    ('ca2st_tiny_share', 2),
]
MADE = {}


class TrainedCase(GoldenCase):
    """A golden case with the experts frozen as in training."""

    def expert(self, name):
        return {
            k: v
            for k, v in super().expert(name).items()
            if k != 'frozen_parts'
        }

    def data(self):
        own = self.inputs()
        inputs = {
            key: torch.from_numpy(normal(key, (CLIPS, *value.shape[1:])))
            for key, value in own.items()
            if not key.endswith('_times')
        }
        for key in set(own) - set(inputs):
            inputs[key] = own[key][:1].expand(CLIPS, -1) * 1.0
        labels = [i % self.spec['classes'] for i in range(CLIPS)]
        return inputs, labels

    def trainable(self):
        if self.name not in MADE:  # weights by rule take a while
            model = self.model()
            streams = preprocessor(self.inputs())
            model.data_preprocessor = MODELS.build(streams)
            MADE[self.name] = model
        return copy.deepcopy(MADE[self.name])


def plain_rule(name, parameter, layers):
    """Rate and decay of a parameter, written down once more."""
    scale = 1.0
    if found := re.search(r'\.(layers|links)\.(\d+)\.', name):
        scale = 0.75 ** (layers - int(found.group(2)))
    kept = parameter.ndim > 1 and not name.endswith('_table')
    return scale, 0.05 if kept else 0.0


def plain_rates():
    """The rate of every step: up in a line, down in a cosine."""
    top = RATE * STEP / 256
    steps = CLIPS // STEP
    warmup, total = steps, steps * EPOCHS
    rates = [top * i / (warmup - 1) for i in range(warmup)]
    low = 1e-3 * top
    rates += [
        low + (top - low) * (1 + math.cos(math.pi * i / (total - warmup))) / 2
        for i in range(total - warmup)
    ]
    return rates


def plain_loop(case):
    """Losses of each step, by nothing but PyTorch."""
    model = case.trainable().train()
    inputs, labels = case.data()
    labels = torch.tensor(labels)
    depth = case.spec['depth']
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale, decay = plain_rule(name, parameter, depth)
            groups.append(
                dict(params=[parameter], scale=scale, weight_decay=decay)
            )
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999))
    losses = []
    for step, rate in enumerate(plain_rates()):
        for group in optimizer.param_groups:
            group['lr'] = rate * group['scale']
        start = step * STEP % CLIPS
        now = slice(start, start + STEP)
        batch = {key: value[now] for key, value in inputs.items()}
        logits = model.cls_head(model.backbone(**batch))
        loss = F.cross_entropy(logits, labels[now])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def our_losses(case, tmp_path, micro_batches=1, **wrapper):
    config = recipe(EPOCHS)
    config['optim_wrapper'].update(
        accumulative_counts=micro_batches, **wrapper
    )
    runner, losses = train(
        config,
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


@pytest.fixture(scope='module')
def plain():
    known = {}

    def get(case):
        if case.name not in known:
            known[case.name] = plain_loop(case)
        return known[case.name]

    return get


@pytest.mark.parametrize('name, micro_batches', CASES)
def test_losses_equal_those_of_a_plain_loop(
    name, micro_batches, tmp_path, plain
):
    case = TrainedCase(name)
    expected = plain(case)
    found = our_losses(case, tmp_path, micro_batches)
    assert found == pytest.approx(expected, rel=1e-5)
    # There was something to get wrong.
    assert abs(expected[-1] - expected[0]) > 0.02


def test_bfloat16_stays_near_float32(tmp_path, plain):
    case = TrainedCase('cast_tiny_single')
    found = our_losses(case, tmp_path, type='BFloat16OptimWrapper')
    expected = plain(case)
    assert found != pytest.approx(expected, rel=1e-5)
    # bfloat16 keeps 8 bits: 2 ** -8 is 0.4 %; a step of 3 % would be a fault.
    assert found == pytest.approx(expected, rel=0.03)
