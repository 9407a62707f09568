# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every module is called: hooks, LoRA, pruning and torch.func work."""

import copy
import re

import pytest
import tiny_models as tiny
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.utils import prune

# Containers call nothing, and an expert is run layer by layer.
NEVER_CALLED = (nn.ModuleList, nn.ModuleDict)
POSITIONS = dict(position=['learned_space_time', 'timestamp'])
CA2ST = dict(
    tiny.TIMED,
    links=[
        tiny.SPACE_TIME,
        dict(tiny.SPACE_AUDIO, **POSITIONS),
        dict(tiny.TIME_AUDIO, **POSITIONS),
    ],
)
WRAPPED = dict(
    tiny.CAST, experts=dict(spatial=tiny.MMPRETRAIN, temporal=tiny.MMACTION)
)
CAVA = dict(
    tiny.CAVA,
    links=[dict(tiny.SPACE_AUDIO, **POSITIONS)],
    time_encoders=tiny.ENCODERS,
)
# A layer for each of them.
OTHER_LINKS = dict(
    tiny.CAST,
    experts={
        name: dict(expert, extra_layers=len(tiny.OTHER_LINKS) - tiny.DEPTH)
        for name, expert in tiny.CAST['experts'].items()
    },
    links=[
        dict(link, layers=[layer])
        for layer, link in enumerate(tiny.OTHER_LINKS.values())
    ],
)
BACKBONES = dict(ca2st=CA2ST, cava=CAVA, wrapped=WRAPPED, others=OTHER_LINKS)
INPUTS = tiny.views()
LABELS = [0, 1, 2]
# Directions of links in the last layer that reach no feature.
NO_EFFECT = [
    f'links.{tiny.DEPTH - 1}.{side}.'
    for side in ('spatial_audio.a_from_b', 'temporal_audio.b_from_a')
]


def recognizer(name='ca2st', verbs=False, **changes):
    backbone = dict(BACKBONES[name], **changes)
    if not verbs:
        return tiny.recognizer(backbone)
    own = dict(in_channels=dict.fromkeys(backbone['experts'], tiny.DIMS))
    head = dict(type='VerbNounHead', num_verbs=4, num_nouns=4)
    head['fusions'] = dict(verb=own, noun=own)
    return tiny.recognizer(backbone, head)


def logits_of(model):
    return model(INPUTS, mode='tensor', stage='head')


def loss_of(model, verbs=False):
    labels = [torch.tensor([k, k]) if verbs else k for k in LABELS]
    losses = model(INPUTS, tiny.samples(labels), mode='loss')
    return sum(v for k, v in losses.items() if k.startswith('loss'))


def parts_of(model):
    """Modules below experts, links, time encoders and the head, by name."""
    for name, module in model.named_modules():
        above = name.rpartition('.')[0]
        if (
            above not in ('', 'backbone', 'backbone.experts')
            and not isinstance(module, NEVER_CALLED)
            # What is wrapped is MMAction2's or mmpretrain's business.
            and not re.search(r'experts\.\w+\.backbone', name)
            and not name.endswith('loss_cls')
        ):
            yield name, module


@pytest.mark.parametrize('activations', ['store', 'recompute'])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', BACKBONES)
def test_a_hook_fires_on_every_submodule(name, training, activations):
    verbs = name == 'cava'  # the head of verbs and nouns
    model = recognizer(name, verbs, activations=activations).train(training)
    called = set()
    expected = dict(parts_of(model))
    for path, module in expected.items():
        module.register_forward_hook(lambda *_, path=path: called.add(path))
    with torch.set_grad_enabled(training):
        loss_of(model, verbs)
    with_parameters = {n for n, m in expected.items() if m._parameters}
    assert with_parameters and with_parameters <= called
    assert set(expected) == called


def lora_of(model):
    peft = pytest.importorskip('peft')
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and 'time_encoders' not in name
        and 'fc_cls' not in name
    ]
    config = peft.LoraConfig(r=2, target_modules=layers)
    return peft.get_peft_model(model, config)


def two_steps(model, loss, lr):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr)
    for _ in range(2):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


@pytest.mark.parametrize('activations', ['store', 'recompute'])
def test_lora_trains_everywhere_and_merges(activations):
    model = recognizer(activations=activations)
    before = logits_of(model)
    tuned = lora_of(copy.deepcopy(model))
    kinds = {'qkv', 'proj', 'fc1', 'fc2', 'down', 'up', 'q', 'kv'}
    names = [name for name, _ in tuned.named_parameters() if 'lora_' in name]
    assert {name.split('.')[-4] for name in names} == kinds
    torch.testing.assert_close(logits_of(tuned.base_model.model), before)
    tuned.train()
    two_steps(tuned, lambda: loss_of(tuned.base_model.model), 0.05)
    # B starts at zero, so that A has a gradient in the second step only.
    for path, parameter in tuned.named_parameters():
        if 'lora_' in path and not any(part in path for part in NO_EFFECT):
            assert parameter.grad.abs().sum() > 0, path
    tuned.eval()
    trained = logits_of(tuned.base_model.model)
    assert tiny.difference(trained, before) > 1e-3
    with torch.no_grad():
        # Evaluation computes what training does.
        found = logits_of(tuned.base_model.model)
        torch.testing.assert_close(found, trained)
        merged = logits_of(tuned.merge_and_unload().eval())
    torch.testing.assert_close(merged, trained, atol=1e-4, rtol=1e-4)


def test_pruning_trains_two_steps():
    model = recognizer().train()
    pruned = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    for _, module in pruned:
        prune.l1_unstructured(module, 'weight', amount=0.3)
    two_steps(model, lambda: loss_of(model), 1e-3)
    for _, module in pruned:
        assert (module.weight == 0).float().mean() > 0.25
        prune.remove(module, 'weight')


def test_functional_call_and_grad_equal_backward():
    model = recognizer()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def loss(parameters):
        logits = functional_call(
            model, parameters, (INPUTS,), dict(mode='tensor', stage='head')
        )
        return logits.square().sum()

    detached = {n: p.detach() for n, p in trained.items()}
    found = grad(loss)(detached)
    loss(trained).backward()
    for name, parameter in trained.items():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)
