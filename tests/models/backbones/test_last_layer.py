# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is left out of the last layer changes nothing, and is all there is."""

import itertools

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from torch import nn

LINKS = (tiny.SPACE_TIME, tiny.SPACE_AUDIO, tiny.TIME_AUDIO)
ONE_WAY = [
    (tiny.SPACE_TIME, dict(tiny.SPACE_AUDIO, axes=axes))
    for axes in [(None, 'all'), ('all', None)]
]
CASES = [(tiny.CAST, 'sequential'), (tiny.CAVA, 'sequential')]
CASES += [
    (dict(tiny.CA2ST, links=list(links)), exchange)
    for exchange in ('sequential', 'additive')
    for links in [*itertools.permutations(LINKS), *ONE_WAY]
]
every_case = pytest.mark.parametrize(('cfg', 'exchange'), CASES)
OTHERS = [
    (dict(tiny.CAST, links=[link]), 'sequential')
    for link in tiny.OTHER_LINKS.values()
]


def models_of(cfg, exchange):
    """A backbone, and a copy that leaves nothing out."""
    model = tiny.noisy(cfg, exchange=exchange)
    whole = tiny.build(cfg, exchange=exchange)
    for expert in whole.experts.values():
        expert.pools_patches = True
    whole.load_state_dict(model.state_dict())
    return model, whole


def updates_of(model, inputs):
    """By link, whether the update of the patches of each end is needed."""
    needed, hooks = {}, []
    for key, _, _ in model.pairs[-1]:

        def note(link, args, options, key=key):
            needed[key] = options['update_patches']

        link = model.links[-1][key]
        hooks.append(link.register_forward_pre_hook(note, with_kwargs=True))
    model(**inputs)
    for hook in hooks:
        hook.remove()
    return needed


def inputs_of(cfg):
    used = set(cfg['inputs'].values())
    return {k: v for k, v in tiny.streams().items() if k in used}


def loss_of(feats):
    # Another weight for each channel, so that no symmetry hides a change.
    ramp = torch.linspace(1, 2, tiny.DIMS)
    return sum((value * ramp).sum() for value in feats.values())


@pytest.mark.parametrize(('cfg', 'exchange'), CASES + OTHERS)
def test_what_is_left_out_has_no_effect(cfg, exchange):
    model, whole = models_of(cfg, exchange)
    feats, expected = model(**inputs_of(cfg)), whole(**inputs_of(cfg))
    tiny.assert_same(feats, expected)
    loss_of(feats).backward()
    loss_of(expected).backward()
    others = dict(whole.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Distributed training waits for every one of them.
            assert parameter.grad is not None, name
            torch.testing.assert_close(parameter.grad, others[name].grad)


@every_case
def test_nothing_else_could_be_left_out(cfg, exchange):
    model, whole = models_of(cfg, exchange)
    inputs = inputs_of(cfg)
    with torch.no_grad():
        before = loss_of(whole(**inputs))
        for key, needed in updates_of(model, inputs).items():
            link = whole.links[-1][key]
            for end, is_needed in zip(
                (link.a_from_b, link.b_from_a), needed, strict=True
            ):
                if end is None:
                    assert not is_needed
                    continue
                weight = end.attn.proj.weight
                saved = weight.clone()
                weight.add_(1)
                after = loss_of(whole(**inputs))
                weight.copy_(saved)
                assert (abs(after - before) > 1e-6 * abs(before)) == is_needed


@pytest.mark.parametrize('exchange', ['sequential', 'additive'])
@pytest.mark.parametrize('earlier', [[], [tiny.SPACE_TIME]])
def test_a_link_of_tokens_and_times_alone_is_enough(
    exchange, earlier, monkeypatch
):
    shapes = []

    class ForeignLink(nn.Module):
        def __init__(self, **kwargs):
            super().__init__()

        def forward(self, a, b, time_a=None, time_b=None):
            shapes.append((a.shape, b.shape))
            return 0.1 * a, 0.1 * b

    monkeypatch.setitem(MODELS.module_dict, 'ForeignLink', ForeignLink)
    foreign = dict(tiny.SPACE_AUDIO, type='ForeignLink')
    # Nothing reads the patches of CLIP and AST after the last links.
    cfg = dict(tiny.CA2ST, links=[*earlier, foreign])
    model, whole = models_of(cfg, exchange)
    tiny.assert_same(model(**tiny.streams()), whole(**tiny.streams()))
    assert len(shapes) == 2 * tiny.DEPTH and len(set(shapes)) == 1
