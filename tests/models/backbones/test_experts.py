# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What every registered expert must do; a new one is tested by being there."""

import pytest
import torch
from mmaction.registry import MODELS
from tiny_models import (
    AST,
    BATCH,
    CLIP,
    COLUMNS,
    DEPTH,
    EXPERTS,
    MMACTION,
    MMPRETRAIN,
    ROWS,
    VIDEOMAE,
    audio,
    build,
    difference,
    input_of,
    randomize,
    video,
)

from ca2st_mm.models.backbones import TransformerExpert

every_expert = pytest.mark.parametrize('name', sorted(EXPERTS))
PARTS = ('embed', 'layers', 'adapters', 'norm')


def expert_shape(expert):
    spec = expert.token_spec
    tokens = spec.num_prefix_tokens + spec.num_patches
    return (BATCH, spec.num_steps, tokens, spec.embed_dims)


def test_no_registered_expert_is_left_out():
    registered = {
        name
        for name, kind in MODELS.module_dict.items()
        if isinstance(kind, type)
        and issubclass(kind, TransformerExpert)
        and kind.__module__.startswith('ca2st_mm')
    }
    assert registered == set(EXPERTS)


@every_expert
def test_embed_matches_the_token_spec(name):
    expert = build(EXPERTS[name])
    assert expert.num_layers == DEPTH
    assert expert.embed(input_of(name)).shape == expert_shape(expert)


@every_expert
def test_input_shape_is_what_embed_takes(name):
    expert = build(EXPERTS[name])
    assert expert.input_shape == input_of(name).shape[1:]


@every_expert
def test_blocks_keep_the_shape(name):
    expert = randomize(build(EXPERTS[name]))
    tokens = torch.randn(expert_shape(expert))
    for block in (expert.forward_attn, expert.forward_ffn):
        for layer in range(DEPTH):
            out = block(tokens, layer)
            assert out.shape == tokens.shape
            assert difference(out, tokens) > 1e-3


@every_expert
def test_solo_forward_is_embed_blocks_pool(name):
    expert = randomize(build(EXPERTS[name]))
    tokens = expert.embed(input_of(name))
    for layer in range(DEPTH):
        tokens = expert.forward_attn(tokens, layer)
        tokens = expert.forward_ffn(tokens, layer)
    feature = expert(input_of(name))
    assert feature.shape == (BATCH, expert.token_spec.embed_dims)
    # The last block may run on the pooled tokens alone.
    assert difference(feature, expert.pool(tokens)) < 1e-6


@every_expert
def test_everything_learns_when_nothing_is_frozen(name):
    expert = randomize(build(EXPERTS[name], frozen_parts=())).train()
    expert(input_of(name)).square().sum().backward()
    idle = [
        key
        for key, p in expert.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    assert not idle


@every_expert
@pytest.mark.parametrize('part', PARTS)
def test_a_frozen_part_gets_no_gradient(name, part):
    expert = randomize(build(EXPERTS[name], frozen_parts=(part,))).train()
    expert(input_of(name)).square().sum().backward()
    parts = expert.parts()
    frozen = {id(p) for p in parts[part]}
    assert frozen
    for parameter in expert.parameters():
        is_frozen = id(parameter) in frozen
        assert (parameter.grad is None) == is_frozen
        assert parameter.requires_grad != is_frozen


@every_expert
def test_parts_hold_every_parameter_once(name):
    expert = build(EXPERTS[name])
    parts = expert.parts()
    assert set(parts) == set(PARTS)
    ours = [id(p) for part in parts.values() for p in part]
    assert sorted(ours) == sorted(id(p) for p in expert.parameters())


@every_expert
def test_an_unknown_part_is_named(name):
    with pytest.raises(ValueError, match="'head'"):
        build(EXPERTS[name], frozen_parts=('head',))


@every_expert
def test_adapters_at_init_change_nothing(name):
    expert = build(EXPERTS[name])
    bare = build(EXPERTS[name], adapter_ratio=None)
    assert not bare.parts()['adapters']
    bare.load_state_dict(
        {k: v for k, v in expert.state_dict().items() if 'adapter' not in k}
    )
    assert torch.equal(expert(input_of(name)), bare(input_of(name)))


@pytest.mark.parametrize(
    'name, inputs, expected, got',
    [
        ('CLIPExpert', video(frames=6), 'num_frames=2', '6'),
        ('CLIPExpert', video()[..., :16, :16], '32', '16'),
        ('VideoMAEExpert', video(frames=6), '4', '6'),
        ('VideoMAEExpert', video()[..., :16, :16], '32', '16'),
        ('VideoMAEExpert', video()[:, :, 0], '4', '32, 32'),
        ('ASTExpert', torch.randn(3, 1, 50, 36), '64, 36', '50, 36'),
        ('ASTExpert', torch.randn(3, 3, 64, 36), '1, frames', '3, 64'),
        ('MMPretrainViTExpert', video(frames=6), '4', '6'),
        ('MMPretrainViTExpert', video()[..., :16, :16], '32, 32', '16, 16'),
        ('MMActionViTExpert', video(frames=6), '4', '6'),
        ('MMActionViTExpert', video()[..., :16, :16], '32, 32', '16, 16'),
        ('TimmExpert', video()[..., :16, :16], '32, 32', '16, 16'),
        # These would run, and with wrong positions.
        ('HFExpert', video(frames=6), '4', '6'),
        ('HFExpert', video()[..., :16, :16], '32, 32', '16, 16'),
    ],
)
def test_wrong_inputs_raise_with_both_numbers(name, inputs, expected, got):
    with pytest.raises(ValueError) as error:
        build(EXPERTS[name]).embed(inputs)
    wanted, _, given = str(error.value).partition('got')
    assert expected in wanted
    assert got in given


@pytest.mark.parametrize('cfg', [CLIP, VIDEOMAE, MMPRETRAIN, MMACTION])
def test_frame_times_become_spans_of_the_steps(cfg):
    times = torch.arange(4.0).expand(BATCH, 4)
    spans = build(cfg).token_times(times)
    assert torch.equal(spans[0, :, 0], torch.tensor([[0.0, 1], [2, 3]]))
    with pytest.raises(ValueError, match='5 frame times.*2 steps'):
        build(cfg).token_times(torch.arange(5.0)[None])


def test_clip_reads_the_last_frame_of_each_stride():
    expert = randomize(build(CLIP))
    before = video()
    unread, read = before.clone(), before.clone()
    unread[:, :, 0::2] += 1
    read[:, :, 1::2] += 1
    assert torch.equal(expert(unread), expert(before))
    assert difference(expert(read), expert(before)) > 1e-3


def test_clip_takes_images_as_clips_of_one_frame():
    expert = randomize(build(CLIP, num_frames=1, frame_stride=1))
    image = video()[:, :, 0]
    assert torch.equal(expert(image), expert(image[:, :, None]))


@pytest.mark.parametrize(
    'cfg, change, message',
    [
        (CLIP, dict(arch='huge'), 'base.*huge'),
        (CLIP, dict(arch=dict(depth=3)), 'num_layers.*depth'),
        (CLIP, dict(img_size=30), '16 px.*30 px'),
        (VIDEOMAE, dict(num_frames=5), 'tubelets of 2.*5 frames'),
        (AST, dict(spec_size=(10, 36)), r'\(10, 36\).*16'),
        (AST, dict(clock='wall'), 'binned.*wall'),
        (AST, dict(position_fit='stretch'), 'squeeze.*stretch'),
    ],
)
def test_bad_options_say_what_is_possible(cfg, change, message):
    with pytest.raises(ValueError, match=message):
        build(cfg, **change)


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
