# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One line to a model, by name; wrong weights are refused by name."""

import pytest

import ca2st_mm
from ca2st_mm import zoo

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL = dict(
    backbone=dict(
        experts=dict(spatial=dict(arch=ARCH), temporal=dict(arch=ARCH)),
        links=[
            dict(
                type='BottleneckCrossAttention',
                between=('spatial', 'temporal'),
                axes=('time', 'space'),
                num_heads=2,
            )
        ],
    ),
    cls_head=dict(num_classes=7, in_channels=dict(spatial=16, temporal=16)),
)
NAME = 'cast_vit-base_k400'


def small(**kwargs):
    return ca2st_mm.get_model(NAME, **{**SMALL, **kwargs})


def test_names_and_patterns():
    assert NAME in ca2st_mm.list_models('*k400*')
    assert 'ca2st_vit-base_k400' in ca2st_mm.list_models()
    assert all('k400' in name for name in ca2st_mm.list_models('*k400*'))
    assert not ca2st_mm.list_models('*openai*')  # weights, no models


@pytest.mark.parametrize('name', ca2st_mm.list_models())
def test_every_name_has_a_config_with_a_model(name):
    assert 'backbone' in ca2st_mm.get_config(name).model


def test_changes_reach_the_model():
    model = small()
    assert not model.training
    assert model.cls_head.fc_cls.out_features == 7
    assert model.cfg.train_cfg.max_epochs == 70


@pytest.mark.parametrize(
    'pretrained, name',
    [(True, 'get cast_vit-base_k400'), ('experts', 'get clip_vit-base-p16')],
)
def test_missing_weights_are_named_with_the_command_that_fetches_them(
    pretrained, name, tmp_path, monkeypatch
):
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '1')
    with pytest.raises(zoo.ZooError, match=f'ca2st weights {name}'):
        small(pretrained=pretrained)


def test_a_misspelt_folder_is_named_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '1')
    with pytest.raises(zoo.ZooError, match='cost is no folder here'):
        ca2st_mm.get_model('work_dirs/cost')


def test_unknown_names_and_weights_without_a_config():
    with pytest.raises(ValueError, match=f'did you mean.*{NAME}'):
        ca2st_mm.get_model('cast_k400')
    with pytest.raises(ValueError, match='zoo://clip_vit-large-p14_openai'):
        ca2st_mm.get_model('clip_vit-large-p14_openai')
    with pytest.raises(ValueError, match='is a config, which comes with'):
        ca2st_mm.get_model('configs/cast/cast_k400.py')
    with pytest.raises(ValueError, match=f'did you mean.*{NAME}'):
        small(pretrained='cast_vit-base_k40')
