# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Size, learning rate and decay of each parameter, as the authors train.

The table is computed here from the authors' parameter names by the rules of
their code (fact sheet, sections 5 and 7.1); ours comes from the configs.
"""

import json
import math
import re
from pathlib import Path

import pytest
from mmaction.registry import MODELS
from mmengine.optim import build_optim_wrapper
from test_configs import load, without_init

from ca2st_mm.checkpoints.reference import names_of, reference_of, rename

REFERENCE = Path(__file__).resolve().parents[3] / 'shared' / 'reference'
UNFROZEN = (
    'cross',
    'b_cast',
    'space_time_pos',
    'vmae_fc_norm',
    'Adapter',
    'ln_post',
    'head',
    'time_mlp',
)
UNDECAYED = (
    'clip_time_pos',
    'clip_space_pos',
    'vmae_space_pos',
    'vmae_time_pos',
    'pos_embed',
)
LAYERS = 12


WEIGHT_DECAY = 0.05
# Base learning rate and layer decay: fact sheet, sections 7.2 and 7.3.
OF_CAST, OF_CAVA = (1e-3, 0.75), (5e-4, 0.8)
# Key list, config, its learning rate and decay, also where our choice.
CASES = [
    ('cast_single', 'cast/cast_k400', OF_CAST),
    ('cast_compo', 'cast/cast_ek100', OF_CAST),
    ('cava_single', 'cava/cava_vggsound', OF_CAVA),
    ('cava_compo', 'cava/cava_ek100', OF_CAVA),
    # The tables of their other variant, of which those of time are decayed.
    (
        'cava_single_nopos_notime',
        'ablations/cava/learned_positions',
        OF_CAVA,
    ),
    ('ca2st_single', 'ca2st/ca2st_k400', OF_CAST),
    ('ca2st_single', 'ca2st/ca2st_vggsound', OF_CAVA),
    ('ca2st_compo', 'ca2st/ca2st_ek100', OF_CAST),
]


def reference_table(name, lr, layer_decay):
    """Our name -> (size, learning rate, decay), from the authors' names."""
    path = REFERENCE / f'keys_{name}.json'
    if not path.is_file():
        pytest.skip(f'key lists of the reference models not at {REFERENCE}')
    shapes = json.loads(path.read_text())
    names = names_of(*reference_of(shapes))
    names = {theirs: ours for ours, theirs in names.items()}
    table = {}
    for theirs, shape in shapes.items():
        if theirs.startswith('audio_ln_post'):  # they never use it
            continue
        if not any(part in theirs for part in UNFROZEN):
            continue
        block = re.match(r'blocks\.(\d+)\.', theirs)
        power = LAYERS - int(block.group(1)) if block else 0
        plain = (
            len(shape) == 1
            or theirs.endswith('.bias')
            or any(part in theirs for part in UNDECAYED)
        )
        table[rename(theirs, names)] = (
            math.prod(shape),
            pytest.approx(lr * layer_decay**power, rel=1e-12),
            0.0 if plain else WEIGHT_DECAY,
        )
    return table


@pytest.mark.parametrize(
    'keys, config, numbers',
    CASES,
    ids=[f'{keys}-{config.split("/")[-1]}' for keys, config, *_ in CASES],
)
def test_every_trained_parameter_is_treated_as_in_the_reference(
    keys, config, numbers, meta_device
):
    cfg = load(config)
    model_cfg = without_init(cfg.model.to_dict())
    with meta_device:
        model = MODELS.build(dict(model_cfg, data_preprocessor=None))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = wrapper.optimizer.param_groups
    found = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in groups
        for parameter in group['params']
    }
    expected = reference_table(keys, *numbers)
    every_name = dict(model.named_parameters(remove_duplicate=False))
    trained = {n for n, p in every_name.items() if p.requires_grad}
    assert trained == set(expected)
    for ours, (size, *values) in expected.items():
        parameter = every_name[ours]
        assert found[id(parameter)] == tuple(values), ours
        # Some lists are of a model of other classes.
        classifier = ours.startswith('cls_head.fc_')
        assert parameter.numel() == size or classifier, ours
    # Each once, in as few groups as there are pairs of values.
    members = [id(p) for group in groups for p in group['params']]
    assert len(members) == len(set(members))
    distinct = {(g['lr'], g['weight_decay']) for g in groups}
    assert len(groups) == len(distinct) <= 2 * (LAYERS + 1)
