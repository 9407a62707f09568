# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""New experts and new mixtures, without touching a file of the package."""

import pytest
import torch
from mmaction.registry import MODELS
from tiny_models import (
    ARCH,
    AST,
    B_CA,
    CA2ST,
    CAST,
    CLIP,
    MMACTION,
    MMPRETRAIN,
    SPACE_AUDIO,
    SPACE_TIME,
    audio,
    build,
    difference,
    randomize,
    samples,
    streams,
)
from torch import nn

from ca2st_mm.models.layers import TokenSpec


@pytest.fixture
def flow_expert():
    """A fourth expert: one class that needs nothing of ours."""

    class FlowExpert(nn.Module):
        num_layers = 2
        token_spec = TokenSpec(12, 2, 4)

        def __init__(self):
            super().__init__()
            self.to_tokens = nn.Linear(5, 12)
            self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))

        def embed(self, inputs):
            return self.to_tokens(inputs)

        def forward_attn(self, tokens, layer):
            return tokens + self.layers[2 * layer](tokens.roll(1, 2))

        def forward_ffn(self, tokens, layer):
            return tokens + self.layers[2 * layer + 1](tokens).relu()

        def pool(self, tokens):
            return tokens.mean((1, 2))

    MODELS.register_module(module=FlowExpert)
    yield dict(type='FlowExpert')
    del MODELS.module_dict['FlowExpert']


def recognizer(backbone, in_channels):
    return build(
        dict(
            type='MultiExpertRecognizer',
            backbone=backbone,
            cls_head=dict(
                type='FusionHead',
                num_classes=5,
                in_channels=in_channels,
                out_channels=16,
            ),
        )
    )


def learns(model, inputs):
    """Loss before and after some steps on one batch."""
    randomize(model, 0.1)
    inputs = {key: value[:, None] for key, value in inputs.items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    losses = []
    for _ in range(6):
        loss = model(inputs, samples([0, 1, 2]), mode='loss')['loss_cls']
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[-1] < losses[0]


def test_a_fourth_expert_is_one_class_and_config(flow_expert):
    cfg = dict(
        CA2ST,
        experts=dict(CA2ST['experts'], flow=flow_expert),
        inputs=dict(CA2ST['inputs'], flow='flows'),
        links=[
            *CA2ST['links'],
            dict(B_CA, between=('temporal', 'flow'), axes=('space', 'time')),
        ],
    )
    inputs = dict(streams(), flows=torch.randn(3, 2, 4, 5))
    backbone = randomize(build(cfg))
    before = backbone(**inputs)
    inputs['flows'] = inputs['flows'] + torch.randn(3, 2, 4, 5)
    after = backbone(**inputs)
    assert difference(before['temporal'], after['temporal']) > 1e-4
    channels = dict(spatial=16, temporal=16, audio=16, flow=12)
    assert learns(recognizer(cfg, channels), inputs)


@pytest.mark.parametrize('foreign', [MMACTION, MMPRETRAIN])
def test_videomae_swapped_for_a_wrapped_vit(foreign):
    cfg = dict(CAST, experts=dict(spatial=CLIP, temporal=foreign))
    model = recognizer(cfg, dict(spatial=16, temporal=16))
    assert learns(model, dict(imgs=streams()['imgs']))


def test_both_wrappers_meet_under_one_link():
    cfg = dict(CAST, experts=dict(spatial=MMPRETRAIN, temporal=MMACTION))
    backbone = build(cfg)
    imgs = streams()['imgs']
    feats = backbone(imgs)
    for name, expert in backbone.experts.items():
        assert difference(feats[name], expert(imgs)) == 0
    model = recognizer(cfg, dict(spatial=16, temporal=16))
    assert learns(model, dict(imgs=imgs))


def test_two_audio_experts():
    fine = dict(AST, arch=dict(ARCH, patch_stride=5))
    cfg = dict(
        CAST,
        experts=dict(spatial=CLIP, audio=AST, detail=fine),
        inputs=dict(spatial='imgs', audio='audios', detail='audios'),
        links=[
            SPACE_AUDIO,
            dict(B_CA, between=('audio', 'detail'), axes=('all', 'all')),
        ],
    )
    model = recognizer(cfg, dict(spatial=16, audio=16, detail=16))
    assert learns(model, streams())


def test_two_audio_streams():
    cfg = dict(
        CAST,
        experts=dict(near=AST, far=AST),
        inputs=dict(near='near_audios', far='far_audios'),
        links=[dict(B_CA, between=('near', 'far'), axes=('space', 'all'))],
    )
    inputs = dict(near_audios=audio(seed=1), far_audios=audio(seed=2))
    assert learns(recognizer(cfg, dict(near=16, far=16)), inputs)


def test_one_expert_without_links_is_a_multi_expert_model_too():
    cfg = dict(
        CAST, experts=dict(audio=AST), inputs=dict(audio='audios'), links=[]
    )
    backbone = randomize(build(cfg))
    alone = backbone.experts['audio'](audio())
    assert torch.equal(backbone(audios=audio())['audio'], alone)


def test_the_link_of_a_config_is_not_changed_by_building():
    before = repr(SPACE_TIME)
    build(CAST, links=[SPACE_TIME])
    assert repr(SPACE_TIME) == before
