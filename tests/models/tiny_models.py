# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Tiny configs and inputs, shared by the tests of models."""

import copy
import logging

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.logging import MMLogger

from ca2st_mm.structures import Stream

DIMS, HEADS, DEPTH = 16, 2, 2
SIZE, FRAMES, STEPS, PATCHES = 32, 4, 2, 4
SPEC, ROWS, COLUMNS = (64, 36), 3, 5
BATCH = 3

ARCH = dict(
    embed_dims=DIMS,
    num_layers=DEPTH,
    num_heads=HEADS,
    feedforward_channels=2 * DIMS,
    patch_size=16,
)
CLIP = dict(
    type='CLIPExpert',
    arch=ARCH,
    img_size=SIZE,
    num_frames=STEPS,
    frame_stride=2,
)
VIDEOMAE = dict(
    type='VideoMAEExpert', arch=ARCH, img_size=SIZE, num_frames=FRAMES
)
AST = dict(type='ASTExpert', arch=ARCH, spec_size=SPEC)
BEATS = dict(
    type='BEATsExpert',
    arch=dict(
        {k: v for k, v in ARCH.items() if k != 'patch_size'},
        patch_dims=12,
        conv_size=4,
        conv_groups=4,
        num_buckets=16,
        max_distance=10,
    ),
    spec_size=SPEC,
)
MMPRETRAIN = dict(
    type='MMPretrainViTExpert',
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch={k: v for k, v in ARCH.items() if k != 'patch_size'},
        img_size=SIZE,
        patch_size=16,
    ),
    num_frames=STEPS,
    frame_stride=2,
)
MMACTION = dict(
    type='MMActionViTExpert',
    backbone=dict(
        type='VisionTransformer',
        img_size=SIZE,
        patch_size=16,
        embed_dims=DIMS,
        depth=DEPTH,
        num_heads=HEADS,
        num_frames=FRAMES,
    ),
)
TIMM = dict(
    type='TimmExpert',
    model='vit_tiny_patch16_224',
    img_size=SIZE,
    model_args=dict(embed_dim=DIMS, depth=DEPTH, num_heads=HEADS),
    pretrained=False,
    num_frames=STEPS,
    frame_stride=2,
    frozen_parts=('embed', 'layers'),
)
VJEPA2 = dict(
    type='HFExpert',
    config=dict(
        model_type='vjepa2',
        hidden_size=DIMS,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        crop_size=SIZE,
    ),
    num_frames=FRAMES,
    frozen_parts=('embed', 'layers'),
)
EXPERTS = {
    cfg['type']: cfg
    for cfg in (
        *(CLIP, VIDEOMAE, AST, BEATS),
        *(MMPRETRAIN, MMACTION, TIMM, VJEPA2),
    )
}

B_CA = dict(type='BottleneckCrossAttention', num_heads=HEADS)
SPACE_TIME = dict(
    B_CA, between=('spatial', 'temporal'), axes=('time', 'space')
)
SPACE_AUDIO = dict(B_CA, between=('spatial', 'audio'), axes=('all', 'all'))
TIME_AUDIO = dict(B_CA, between=('temporal', 'audio'), axes=('all', 'all'))
# Links that B-CA is compared with.
PAIR = dict(between=('spatial', 'temporal'))
CROSS = dict(
    PAIR,
    type='CrossAttentionLink',
    axes=('time', 'space'),
    num_heads=HEADS,
    positions=('learned', dict(context='learned_joint')),
)
OTHER_LINKS = dict(
    lateral=dict(PAIR, type='LateralLink', axes=('same', 'same')),
    cross=CROSS,
    cross_adapter=dict(CROSS, adapter_ratio=0.25),
    identity=dict(PAIR, type='AdapterLink', axes=('self', 'self')),
    frames=dict(SPACE_TIME, axes=('frames', 'all')),
)
CAST = dict(
    type='MultiExpertBackbone',
    experts=dict(spatial=CLIP, temporal=VIDEOMAE),
    inputs=dict(spatial='imgs', temporal='imgs'),
    links=[SPACE_TIME],
)
CA2ST = dict(
    type='MultiExpertBackbone',
    experts=dict(spatial=CLIP, temporal=VIDEOMAE, audio=AST),
    inputs=dict(spatial='imgs', temporal='imgs', audio='audios'),
    links=[SPACE_TIME, SPACE_AUDIO, TIME_AUDIO],
)
ENCODERS = dict(imgs=dict(embed_dims=8), audios=dict(embed_dims=8))
TIMED = dict(
    CA2ST,
    links=[
        SPACE_TIME,
        dict(SPACE_AUDIO, position='timestamp'),
        dict(TIME_AUDIO, position='timestamp'),
    ],
    time_encoders=ENCODERS,
)
CAVA = dict(
    CA2ST,
    experts=dict(spatial=CLIP, audio=AST),
    inputs=dict(spatial='imgs', audio='audios'),
    links=[SPACE_AUDIO],
)


def build(cfg, **changes):
    """Build a copy of a config with some entries replaced, in eval mode."""
    if cfg['type'] == 'HFExpert':
        # There is none for Python 3.10.
        pytest.importorskip('transformers', minversion='5.23')
    return MODELS.build(copy.deepcopy(dict(cfg, **changes))).eval()


def randomize(module, std=0.3, seed=0):
    """Fill every parameter with noise, so that nothing hides behind zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, std, generator=generator)
    return module


def noisy(cfg, **changes):
    """Build with noise in every parameter."""
    return randomize(build(cfg, **changes))


def video(batch=BATCH, seed=0, frames=FRAMES):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, SIZE, SIZE, generator=generator)


def audio(batch=BATCH, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, *SPEC, generator=generator)


def input_of(expert_type):
    audio_experts = ('ASTExpert', 'BEATsExpert')
    return audio() if expert_type in audio_experts else video()


def streams(batch=BATCH, seed=0):
    return dict(imgs=video(batch, seed), audios=audio(batch, seed + 1))


def timed(batch=BATCH, present=None, later=0.0):
    """Streams with the times of frames and audio window, and presence."""
    start = torch.arange(batch)[:, None] * 0.7
    imgs, audios = streams(batch).values()
    window = torch.cat((start - 1, start + 3), dim=1) + later
    return dict(
        imgs=Stream(imgs, start + torch.arange(FRAMES) * 0.2),
        audios=Stream(audios, window, present),
    )


def views(batch=BATCH, present=None):
    """Streams of one view, with their times, as recognizers take them."""
    rows = timed(batch, present)
    return {k: s.map(lambda part: part[:, None]) for k, s in rows.items()}


def recognizer(backbone, head=None, **changes):
    """A recognizer of random weights; by default its head has 5 classes."""
    plain = dict(
        type='FusionHead',
        num_classes=5,
        in_channels=dict.fromkeys(backbone['experts'], DIMS),
    )
    cfg = dict(
        type='MultiExpertRecognizer', backbone=backbone, cls_head=head or plain
    )
    return randomize(build(cfg, **changes))


def samples(labels):
    """Data samples with a label each: int, list or soft vector."""
    return [ActionDataSample().set_gt_label(label) for label in labels]


def difference(a, b):
    return (a - b).abs().max().item()


def assert_same(found, expected, **tolerance):
    """Tensors by name are close, or equal with tolerances of 0."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **tolerance)


def quiet():
    """Keep mmengine's report of every initialised parameter off stdout."""
    for logger in MMLogger._instance_dict.values():
        logger.setLevel(logging.WARNING)
