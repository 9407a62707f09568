# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Weights stand where their tokens lie in the input."""

import pytest
import torch
from tiny_models import (
    CA2ST,
    COLUMNS,
    EXPERTS,
    PATCHES,
    ROWS,
    STEPS,
    build,
    randomize,
)
from torch import nn

from ca2st_mm.models.layers.tokens import TokenSpec
from ca2st_mm.visualization.attention_maps import AttentionMap, read_maps

A, B = TokenSpec(4, 3, 2, 1), TokenSpec(4, 5, 2)


def test_time_keeps_the_place_and_moves_in_time():
    weights = torch.zeros(2, 3, 5)  # (Nq, Tq, Tc)
    weights[0, :, 4] = 1
    weights[1, :, 0] = 1
    weights[1, 2] = torch.tensor([0, 0, 1.0, 0, 0])
    found = AttentionMap(0, 'a', 'b', 'time', A, B, weights)
    assert found.name == 'a_from_b'
    expected = torch.zeros(5, 2)
    expected[4, 0] = 5
    expected[0, 1] = 10 / 3
    expected[2, 1] = 5 / 3
    assert torch.allclose(found.heat(), expected)
    expected = torch.zeros(5, 2)
    expected[2, 1] = 5
    assert torch.equal(found.heat([2], [1]), expected)
    rows = found.over_time()
    assert rows.shape == (3, 5)
    assert rows[2].tolist() == [0, 0, 0.5, 0, 0.5]


def test_space_keeps_the_moment_and_moves_in_space():
    spec, other = TokenSpec(4, 3, 2), TokenSpec(4, 3, 4)
    weights = torch.zeros(3, 2, 4)  # (Tq, Nq, Nc)
    weights[:, :, 1] = 1
    weights[2, 0] = torch.tensor([0, 0, 0, 1.0])
    found = AttentionMap(0, 'a', 'b', 'space', spec, other, weights)
    assert found.heat()[1].tolist() == [0, 4, 0, 0]
    assert found.heat()[2].tolist() == [0, 2, 0, 2]
    alone = found.heat([2], [0])
    assert alone[2].tolist() == [0, 0, 0, 4] and not alone[:2].any()
    assert found.over_time() is None


def test_all_looks_from_anywhere_to_anywhere():
    spec, sound = TokenSpec(4, 2, 2), TokenSpec(4, 1, 6, 2)
    weights = torch.zeros(1, 4, 6)
    weights[0, :, 0] = 1
    weights[0, 3] = torch.tensor([0, 0, 0, 0, 0, 1.0])  # step 1, position 1
    found = AttentionMap(0, 'a', 'b', 'all', spec, sound, weights)
    assert found.heat()[0].tolist() == [4.5, 0, 0, 0, 0, 1.5]
    assert found.heat([0])[0].tolist() == [6, 0, 0, 0, 0, 0]
    assert found.heat([1], [1])[0].tolist() == [0, 0, 0, 0, 0, 6]
    # Two rows of frequency, three columns of time.
    assert found.over_time(3).tolist() == [[1, 0, 0], [0.5, 0, 0.5]]


def test_extra_tokens_ask_in_self_attention_and_are_not_shown():
    spec = TokenSpec(4, 2, 3, 1)
    weights = torch.full((2, 4, 4), 0.25)
    weights[0, 0] = torch.tensor([0.4, 0, 0.6, 0])  # the class token
    weights[0, 3] = torch.tensor([0, 1.0, 0, 0])  # position 2
    found = AttentionMap(0, 'a', 'a', 'space', spec, spec, weights)
    assert found.name == 'a_self'
    assert found.heat()[0].tolist() == pytest.approx([0, 2.4, 0])
    assert found.heat(positions=[2])[0].tolist() == [4, 0, 0]
    assert found.heat().shape == (2, 3)


class Model(nn.Module):
    """As much of a recognizer as is needed."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def extract_feat(self, inputs, test_mode, **options):
        rows = {k: x.flatten(0, 1) for k, x in inputs.items()}
        return self.backbone(**rows, **options), {}


@pytest.fixture
def model():
    return Model(randomize(build(CA2ST))).eval()


INPUTS = dict(
    imgs=torch.randn(1, 1, 3, 4, 32, 32), audios=torch.randn(1, 1, 1, 64, 36)
)


def test_every_layer_and_link_is_read_and_the_model_left_alone(model):
    before, _ = model.extract_feat(INPUTS, True)
    found = read_maps(model, INPUTS)
    ends = ('spatial', 'temporal'), ('spatial', 'audio'), ('temporal', 'audio')
    names = {
        *(f'{a}_self' for a in ('spatial', 'temporal', 'audio')),
        *(f'{a}_from_{b}' for a, b in ends),
        *(f'{b}_from_{a}' for a, b in ends),
    }
    assert {m.name for m in found if m.layer == 0} == names
    assert {m.name for m in found if m.layer == 1} == names
    assert torch.allclose(
        torch.cat([m.weights.sum(-1).flatten() for m in found]),
        torch.ones(()),
        atol=1e-5,
    )
    after, _ = model.extract_feat(INPUTS, True)
    assert all(torch.equal(before[k], after[k]) for k in before)
    shapes = {m.name: tuple(m.heat().shape) for m in found}
    assert shapes['temporal_from_spatial'] == (STEPS, PATCHES)
    assert shapes['spatial_from_audio'] == (1, ROWS * COLUMNS)
    assert shapes['audio_self'] == (1, ROWS * COLUMNS)


def test_layers_and_heads_are_chosen(model):
    found = read_maps(model, INPUTS, layers=[1], head=0)
    assert {m.layer for m in found} == {1} and len(found) == 9
    with pytest.raises(ValueError, match='layers 0 to 1'):
        read_maps(model, INPUTS, layers=[2])
    with pytest.raises(ValueError, match='heads 0 to 1'):
        read_maps(model, INPUTS, head=2)
    two = {k: torch.cat((x, x), 1) for k, x in INPUTS.items()}
    with pytest.raises(ValueError, match='one view'):
        read_maps(model, two)


def test_links_without_an_input_are_left_out(model):
    model.backbone.missing_inputs = 'drop'
    found = read_maps(model, dict(imgs=INPUTS['imgs']))
    assert not any('audio' in m.name for m in found)


@pytest.mark.parametrize('name', EXPERTS)
def test_grids_cover_the_positions(name):
    expert = build(EXPERTS[name])
    grid = expert.token_grid
    assert grid.rows * grid.columns == expert.token_spec.num_positions
