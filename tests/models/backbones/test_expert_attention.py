# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which tokens of an expert see each other, and how they are ordered."""

import pytest
import torch
from tiny_models import (
    AST,
    COLUMNS,
    EXPERTS,
    MMPRETRAIN,
    ROWS,
    audio,
    build,
    randomize,
    video,
)


def changed_tokens(expert, tokens):
    """Which (step, token) change when a patch of step 0 does."""
    touched = tokens.clone()
    touched[:, 0, -1] += torch.randn_like(touched[:, 0, -1])
    before = expert.forward_attn(tokens, 0)
    after = expert.forward_attn(touched, 0)
    return (before - after).abs().amax(dim=(0, 3)) > 1e-7


@pytest.mark.parametrize('name', ['CLIPExpert', 'MMPretrainViTExpert'])
def test_image_experts_attend_inside_a_frame_only(name):
    expert = randomize(build(EXPERTS[name]))
    changed = changed_tokens(expert, expert.embed(video()))
    assert changed[0].all()
    assert not changed[1:].any()


@pytest.mark.parametrize('name', ['VideoMAEExpert', 'MMActionViTExpert'])
def test_video_experts_mix_all_tokens(name):
    expert = randomize(build(EXPERTS[name]))
    assert changed_tokens(expert, expert.embed(video())).all()


def test_the_audio_expert_mixes_all_tokens():
    expert = randomize(build(AST))
    assert changed_tokens(expert, expert.embed(audio())).all()


@pytest.mark.parametrize('name', ['CLIPExpert', 'MMPretrainViTExpert'])
def test_patches_of_a_frame_are_row_major(name):
    expert = randomize(build(EXPERTS[name]))
    touched = video()
    touched[:, :, 1, :16, 16:] += 1  # row 0, column 1 of the first step
    changed = expert.embed(touched) != expert.embed(video())
    changed = changed.flatten(3).any(3).any(0)
    assert changed.nonzero().tolist() == [[0, 1 + 1]]


def test_tubelets_are_time_major_then_row_major():
    for name in ('VideoMAEExpert', 'MMActionViTExpert'):
        expert = randomize(build(EXPERTS[name]))
        touched = video()
        touched[:, :, 2, 16:, :16] += 1  # step 1, row 1, column 0
        changed = expert.embed(touched) != expert.embed(video())
        changed = changed.flatten(3).any(3).any(0)
        assert changed.nonzero().tolist() == [[1, 2]], name


def test_audio_tokens_are_frequency_major():
    expert = randomize(build(AST))
    row, column = 1, 3
    touched = audio()
    # The first pixels that only this patch and the one before it cover.
    frame, mel = column * 10 + 6, row * 10 + 6
    touched[:, :, frame : frame + 4, mel : mel + 4] += 1
    changed = expert.embed(touched) != expert.embed(audio())
    tokens = changed.flatten(3).any(3).any(0)[0]
    grid = tokens[2:].reshape(ROWS, COLUMNS)
    assert not tokens[:2].any()
    assert grid.nonzero().tolist() == [[row, column]]


def test_the_distillation_token_is_pooled_too():
    expert = randomize(build(AST))
    tokens = torch.randn(2, 1, 2 + ROWS * COLUMNS, 16)
    mean = expert.norm(tokens)[:, 0, :2].mean(1)
    assert torch.equal(expert.pool(tokens), mean)


def test_a_wrapped_vit_without_class_token_has_no_prefix_token():
    backbone = dict(
        MMPRETRAIN['backbone'], with_cls_token=False, out_type='avg_featmap'
    )
    expert = randomize(build(MMPRETRAIN, backbone=backbone))
    assert expert.token_spec.num_prefix_tokens == 0
    assert expert.embed(video()).shape[2] == 4
