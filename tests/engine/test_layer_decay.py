# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameter groups of models that are no CAST: lone, thawed, foreign."""

import copy

import pytest
import tiny_models as tiny
import torch

from ca2st_mm.engine import MultiExpertOptimConstructor

LR = 1.0


def build_groups(model, **options):
    constructor = MultiExpertOptimConstructor(
        dict(optimizer=dict(type='AdamW', lr=LR, weight_decay=0.1)), options
    )
    groups = constructor(model).optimizer.param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in groups
        for p in group['params']
    }


@pytest.mark.parametrize('kind', tiny.EXPERTS)
def test_a_thawed_expert_has_embeddings_below_its_layers(kind):
    expert = tiny.build(tiny.EXPERTS[kind]).requires_grad_(True)
    rates = {
        n: lr for n, (lr, _) in build_groups(expert, layer_decay=0.5).items()
    }
    assert len(rates) == len(list(expert.named_parameters()))
    parts = expert.parts()
    ids = {part: {id(p) for p in parts[part]} for part in parts}
    for name, parameter in expert.named_parameters():
        if id(parameter) in ids['embed']:
            assert rates[name] == 0.5 ** (tiny.DEPTH + 1), name
        elif id(parameter) in ids['norm']:
            assert rates[name] == 1.0, name
        else:
            index = int(next(s for s in name.split('.') if s.isdigit()))
            assert rates[name] == 0.5 ** (tiny.DEPTH - index), name


def test_nothing_frozen_and_nothing_twice():
    model = tiny.build(tiny.CA2ST, share_bottlenecks=True)
    found = build_groups(model, layer_decay=0.5)
    assert set(found) == {
        n for n, p in model.named_parameters() if p.requires_grad
    }
    everything = dict(model.named_parameters(remove_duplicate=False))
    assert len(everything) > len(dict(model.named_parameters()))


def test_optimizer_keeps_nothing_for_frozen_weights():
    model = tiny.build(tiny.CAST)
    wrapper = MultiExpertOptimConstructor(
        dict(optimizer=dict(type='AdamW', lr=0.1))
    )(model)
    loss = sum(f.square().sum() for f in model(**tiny.streams()).values())
    wrapper.update_params(loss)
    held = sum(len(state) > 0 for state in wrapper.optimizer.state.values())
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert held and frozen
    assert not any(p in wrapper.optimizer.state for p in frozen)


def test_position_tables_are_a_choice():
    model = tiny.build(tiny.CAST)
    tables = [n for n, _ in model.named_parameters() if n.endswith('_table')]
    default = build_groups(model)
    assert tables and all(default[n] == (LR, 0.0) for n in tables)
    decayed = build_groups(model, not_decayed=())
    assert all(decayed[n] == (LR, 0.1) for n in tables)


def test_a_copy_has_the_same_groups_in_the_same_order():
    model = tiny.build(tiny.CAST)
    first = build_groups(model, layer_decay=0.75)
    second = build_groups(copy.deepcopy(model), layer_decay=0.75)
    assert list(first.items()) == list(second.items())


@pytest.mark.parametrize('value', [0, 1.5])
def test_wrong_layer_decay_is_named(value):
    with pytest.raises(ValueError, match='layer_decay lies in'):
        MultiExpertOptimConstructor({}, dict(layer_decay=value))


def test_options_of_another_constructor_are_named():
    with pytest.raises(TypeError, match='norm_decay_mult'):
        MultiExpertOptimConstructor({}, dict(norm_decay_mult=0.0))


def test_a_model_without_anything_to_train_is_named():
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match='frozen_parts'):
        build_groups(model)
