# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What every registered expert must do; a new one is tested by being there."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS

from ca2st_mm.models.backbones import TransformerExpert

every_expert = pytest.mark.parametrize('name', sorted(tiny.EXPERTS))
PARTS = ('embed', 'layers', 'adapters', 'norm')


def test_no_registered_expert_is_left_out():
    registered = {
        name
        for name, kind in MODELS.module_dict.items()
        if isinstance(kind, type)
        and issubclass(kind, TransformerExpert)
        and kind.__module__.startswith('ca2st_mm')
    }
    assert registered == set(tiny.EXPERTS)


@every_expert
def test_embed_and_blocks_are_what_the_token_spec_says(name):
    expert = tiny.noisy(tiny.EXPERTS[name])
    spec = expert.token_spec
    count = spec.num_prefix_tokens + spec.num_patches
    tokens = expert.embed(tiny.input_of(name))
    assert tokens.shape == (tiny.BATCH, spec.num_steps, count, spec.embed_dims)
    assert expert.num_layers == tiny.DEPTH
    assert expert.input_shape == tiny.input_of(name).shape[1:]
    for layer in range(tiny.DEPTH):
        for block in (expert.forward_attn, expert.forward_ffn):
            out = block(tokens, layer)
            assert out.shape == tokens.shape
            assert tiny.difference(out, tokens) > 1e-3
            tokens = out
    feature = expert(tiny.input_of(name))
    assert feature.shape == (tiny.BATCH, spec.embed_dims)
    # Alone, the last block may run on the pooled tokens only.
    assert tiny.difference(feature, expert.pool(tokens)) < 1e-6


@every_expert
@pytest.mark.parametrize('part', [None, *PARTS])
def test_a_frozen_part_gets_no_gradient_and_all_else_learns(name, part):
    frozen_parts = () if part is None else (part,)
    expert = tiny.build(tiny.EXPERTS[name], frozen_parts=frozen_parts)
    tiny.randomize(expert).train()
    expert(tiny.input_of(name)).square().sum().backward()
    parts = expert.parts()
    assert set(parts) == set(PARTS)
    ours = [id(p) for part in parts.values() for p in part]
    assert sorted(ours) == sorted(id(p) for p in expert.parameters())
    frozen = {id(p) for p in parts.get(part, ())}
    assert frozen or part is None or name == 'BEATsExpert'  # no final norm
    for key, parameter in expert.named_parameters():
        is_frozen = id(parameter) in frozen
        assert parameter.requires_grad != is_frozen
        learns = parameter.grad is not None and parameter.grad.any()
        assert learns != is_frozen, key


@every_expert
@torch.no_grad()
def test_adapters_at_init_change_nothing(name):
    expert = tiny.build(tiny.EXPERTS[name])
    bare = tiny.build(tiny.EXPERTS[name], adapter_ratio=None)
    assert not bare.parts()['adapters']
    bare.load_state_dict(
        {k: v for k, v in expert.state_dict().items() if 'adapter' not in k}
    )
    assert torch.equal(expert(tiny.input_of(name)), bare(tiny.input_of(name)))


@every_expert
@pytest.mark.parametrize('dim', [-1, -2, 2])
def test_wrong_sizes_raise_with_both_numbers(name, dim):
    """Some would run otherwise, and with wrong positions."""
    inputs = tiny.input_of(name)
    size = inputs.shape[dim]
    with pytest.raises(ValueError) as error:
        tiny.build(tiny.EXPERTS[name]).embed(inputs.narrow(dim, 0, size // 2))
    wanted, _, given = str(error.value).partition('got')
    assert str(size) in wanted and str(size // 2) in given


@pytest.mark.parametrize(
    'cfg', [tiny.CLIP, tiny.VIDEOMAE, tiny.MMPRETRAIN, tiny.MMACTION]
)
def test_frame_times_become_spans_of_the_steps(cfg):
    times = torch.arange(4.0).expand(tiny.BATCH, 4)
    spans = tiny.build(cfg).token_times(times)
    assert torch.equal(spans[0, :, 0], torch.tensor([[0.0, 1], [2, 3]]))
    with pytest.raises(ValueError, match='5 frame times.*2 steps'):
        tiny.build(cfg).token_times(torch.arange(5.0)[None])


def test_clip_reads_the_last_frame_of_each_stride():
    expert = tiny.noisy(tiny.CLIP)
    before = tiny.video()
    unread, read = before.clone(), before.clone()
    unread[:, :, 0::2] += 1
    read[:, :, 1::2] += 1
    assert torch.equal(expert(unread), expert(before))
    assert tiny.difference(expert(read), expert(before)) > 1e-3
    single = tiny.randomize(
        tiny.build(tiny.CLIP, num_frames=1, frame_stride=1)
    )
    image = tiny.video()[:, :, 0]  # a clip of one frame
    assert torch.equal(single(image), single(image[:, :, None]))


@pytest.mark.parametrize(
    'cfg, change, message',
    [
        (tiny.CLIP, dict(frozen_parts=('head',)), "'head'"),
        (tiny.CLIP, dict(arch='huge'), 'base.*huge'),
        (tiny.CLIP, dict(arch=dict(depth=3)), 'num_layers.*depth'),
        (tiny.CLIP, dict(img_size=30), '16 px.*30 px'),
        (tiny.VIDEOMAE, dict(num_frames=5), 'tubelets of 2.*5 frames'),
        (tiny.AST, dict(spec_size=(10, 36)), r'\(10, 36\).*16'),
        (tiny.AST, dict(time_bin_order='wall'), 'frequency_major.*wall'),
        (tiny.BEATS, dict(spec_size=(10, 36)), r'\(10, 36\).*16'),
        (tiny.AST, dict(position_fit='stretch'), 'squeeze.*stretch'),
    ],
)
def test_bad_options_say_what_is_possible(cfg, change, message):
    with pytest.raises(ValueError, match=message):
        tiny.build(cfg, **change)


def changed_tokens(expert, tokens):
    """Which (step, token) change when a patch of step 0 does."""
    touched = tokens.clone()
    touched[:, 0, -1] += torch.randn_like(touched[:, 0, -1])
    before = expert.forward_attn(tokens, 0)
    after = expert.forward_attn(touched, 0)
    return (before - after).abs().amax(dim=(0, 3)) > 1e-7


@every_expert
def test_image_experts_attend_inside_a_frame_only(name):
    expert = tiny.noisy(tiny.EXPERTS[name])
    changed = changed_tokens(expert, expert.embed(tiny.input_of(name)))
    assert changed[0].all()
    inside = name in ('CLIPExpert', 'MMPretrainViTExpert', 'TimmExpert')
    assert not changed[1:].any() if inside else changed.all()


@pytest.mark.parametrize(
    'name, frame, prefix',
    [
        ('CLIPExpert', 1, 1),
        ('MMPretrainViTExpert', 1, 1),
        ('VideoMAEExpert', 2, 0),
        ('MMActionViTExpert', 2, 0),
    ],
)
def test_patches_are_time_major_then_row_major(name, frame, prefix):
    expert = tiny.noisy(tiny.EXPERTS[name])
    touched = tiny.video()
    touched[:, :, frame, 16:, :16] += 1  # row 1, column 0
    changed = expert.embed(touched) != expert.embed(tiny.video())
    changed = changed.flatten(3).any(3).any(0)
    assert changed.nonzero().tolist() == [[frame // 2, prefix + 2]]


def test_audio_tokens_are_frequency_major():
    expert = tiny.noisy(tiny.AST)
    row, column = 1, 3
    touched = tiny.audio()
    # The first pixels that only this patch and the one before it cover.
    frame, mel = column * 10 + 6, row * 10 + 6
    touched[:, :, frame : frame + 4, mel : mel + 4] += 1
    changed = expert.embed(touched) != expert.embed(tiny.audio())
    tokens = changed.flatten(3).any(3).any(0)[0]
    grid = tokens[2:].reshape(tiny.ROWS, tiny.COLUMNS)
    assert not tokens[:2].any()
    assert grid.nonzero().tolist() == [[row, column]]
