# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The cost of CAST is the published one, and its parts make up the whole."""

import json

import pytest
from tool_runs import ROOT, run_tool


@pytest.fixture(scope='module')
def rows(get_flops, tmp_path_factory):
    path = tmp_path_factory.mktemp('cost') / 'cost.json'
    config = ROOT / 'configs/cast/cast_k400.py'
    assert run_tool('analysis/get_flops.py', config, '--json', path) == 0
    return {row['part']: row for row in json.loads(path.read_text())}


def test_cast_costs_what_its_authors_publish(rows):
    # The CAST paper: 391 G for one view of 16 frames, 45 M trained.
    assert rows['all']['macs'] / 1e9 == pytest.approx(391, rel=0.01)
    assert rows['all']['trainable'] / 1e6 == pytest.approx(45, rel=0.01)


def test_less_is_computed_than_published(rows):
    # In the last layer the spatial expert's patches are left out of its FFN
    # (8 C^2 a patch, its adapter 0.5 C^2) and of its half of the link: four
    # projections of half the width, the way up, attention over 8 steps.
    dims, patches, steps = 768, 196 * 8, 8
    ffn = 8 * dims**2 * patches
    assert rows['expert spatial']['macs'] - ffn == pytest.approx(
        rows['expert spatial']['macs_computed'], rel=1e-6
    )
    adapters = rows['expert spatial adapters']
    assert adapters['macs'] - ffn / 16 == pytest.approx(
        adapters['macs_computed'], rel=1e-6
    )
    half = dims // 2
    link = patches * (4 * half**2 + half * dims + 2 * steps * half)
    assert rows['link spatial_temporal']['macs'] - link == pytest.approx(
        rows['link spatial_temporal']['macs_computed'], rel=1e-6
    )
    assert rows['all']['macs_computed'] < 0.98 * rows['all']['macs']


def test_only_adapters_links_norms_and_head_are_trained(rows):
    # The final norms of the two experts count as theirs.
    for name in ('expert spatial', 'expert temporal'):
        assert rows[name]['trainable'] == 2 * 768
        adapters = rows[f'{name} adapters']
        assert adapters['trainable'] == adapters['parameters']
    for part in ('link spatial_temporal', 'head'):
        assert rows[part]['trainable'] == rows[part]['parameters']
    parts = [row for name, row in rows.items() if name != 'all']
    for key in ('parameters', 'trainable', 'macs', 'macs_computed'):
        assert sum(row[key] for row in parts) == rows['all'][key]
        assert all(row[key] >= 0 for row in parts)


def test_an_expert_costs_what_a_plain_vit_does(rows):
    # 12 layers of a ViT-B/16 on 8 frames: projections 12 C^2 a token, and
    # attention 2 L^2 C inside a frame (space) or over all tokens (video).
    dims, patches, frames = 768, 196, 8
    tokens = frames * (patches + 1)
    attention = 2 * frames * (patches + 1) ** 2 * dims
    embed = frames * patches * 16 * 16 * 3 * dims
    spatial = 12 * (12 * dims**2 * tokens + attention) + embed
    assert rows['expert spatial']['macs'] == pytest.approx(spatial, rel=1e-6)
    tokens = frames * patches
    attention = 2 * tokens**2 * dims
    temporal = 12 * (12 * dims**2 * tokens + attention) + 2 * embed
    assert rows['expert temporal']['macs'] == pytest.approx(temporal, rel=1e-6)
