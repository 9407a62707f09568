# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""BEATs equals its equations, on a file in exactly the published layout."""

import math

import pytest
import tiny_models as tiny
import torch
import torch.nn.functional as F

from ca2st_mm.checkpoints.loading import CheckpointError

DIMS, HEADS, DEPTH, PATCH = 16, 2, 3, 16
ROWS, COLUMNS = 2, 5  # mel bins and time steps of patches
BUCKETS, FAR = 16, 10
CFG = dict(
    input_patch_size=PATCH,
    embed_dim=12,
    conv_bias=False,
    encoder_layers=DEPTH,
    encoder_embed_dim=DIMS,
    encoder_ffn_embed_dim=24,
    encoder_attention_heads=HEADS,
    activation_fn='gelu',
    layer_norm_first=False,
    deep_norm=True,
    dropout=0.1,
    conv_pos=6,
    conv_pos_groups=4,
    relative_position_embedding=True,
    num_buckets=BUCKETS,
    max_distance=FAR,
    gru_rel_pos=True,
    finetuned_model=False,
)
EXPERT = dict(
    type='BEATsExpert',
    arch=dict(
        embed_dims=DIMS,
        num_layers=DEPTH,
        num_heads=HEADS,
        feedforward_channels=24,
        patch_dims=12,
        conv_size=6,
        conv_groups=4,
        num_buckets=BUCKETS,
        max_distance=FAR,
    ),
    spec_size=(COLUMNS * PATCH + 3, ROWS * PATCH),
)


def published_weights():
    shapes = {
        'patch_embedding.weight': (12, 1, PATCH, PATCH),
        'layer_norm': (12,),
        'post_extract_proj': (DIMS, 12),
        'encoder.pos_conv.0.bias': (DIMS,),
        'encoder.pos_conv.0.weight_g': (1, 1, 6),
        'encoder.pos_conv.0.weight_v': (DIMS, DIMS // 4, 6),
        'encoder.layer_norm': (DIMS,),
    }
    for i in range(DEPTH):
        layer = f'encoder.layers.{i}.'
        for letter in ('q', 'k', 'v', 'out'):
            shapes[f'{layer}self_attn.{letter}_proj'] = (DIMS, DIMS)
        shapes[f'{layer}self_attn.grep_linear'] = (8, DIMS // HEADS)
        shapes[f'{layer}self_attn.grep_a'] = (1, HEADS, 1, 1)
        shapes[f'{layer}self_attn_layer_norm'] = (DIMS,)
        shapes[f'{layer}fc1'] = (24, DIMS)
        shapes[f'{layer}fc2'] = (DIMS, 24)
        shapes[f'{layer}final_layer_norm'] = (DIMS,)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        whole = name.rpartition('.')[2] in ('weight', 'bias', 'weight_g')
        if whole or name.endswith(('weight_v', 'grep_a')):
            weights[name] = 0.4 * torch.randn(shape, generator=generator)
            continue
        weights[f'{name}.weight'] = 0.4 * torch.randn(
            shape, generator=generator
        )
        weights[f'{name}.bias'] = torch.randn(shape[:1], generator=generator)
    table = torch.randn(BUCKETS, HEADS, generator=generator)
    for i in range(DEPTH):
        name = f'encoder.layers.{i}.self_attn.relative_attention_bias.weight'
        weights[name] = table
    return weights


def saved(folder, weights=None, **entries):
    path = folder / 'beats.pt'
    container = dict(cfg=CFG, model=weights or published_weights(), **entries)
    torch.save(container, path)
    return str(path)


def loaded(path, **changes):
    torch.manual_seed(0)  # of the adapters
    init_cfg = dict(type='Pretrained', checkpoint=path)
    expert = tiny.build(EXPERT, init_cfg=init_cfg, **changes)
    expert.init_weights()
    return expert


def bucket(distance):
    """Of keys behind the query 8 to 15, else 0 to 7; from 4 logarithmic."""
    first = BUCKETS // 2 if distance > 0 else 0
    size, exact = abs(distance), BUCKETS // 4
    if size >= exact:
        growth = math.log(size / exact) / math.log(FAR / exact)
        size = min(exact + int(growth * exact), BUCKETS // 2 - 1)
    return first + size


def layer_by_layer(weights, spectrogram):
    """Tokens (L, C) before the first and after every layer, of one clip."""

    def linear(name, x):
        return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

    def norm(name, x):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f'{name}.weight'] + weights[f'{name}.bias']

    kernel = weights['patch_embedding.weight'].flatten(1)
    patches = [
        spectrogram[t * PATCH :][:PATCH, row * PATCH :][:, :PATCH]
        for t in range(COLUMNS)
        for row in range(ROWS)
    ]
    x = torch.stack([kernel @ patch.flatten() for patch in patches])
    x = linear('post_extract_proj', norm('layer_norm', x))
    conv = 'encoder.pos_conv.0.'
    direction = weights[f'{conv}weight_v']
    length = direction.square().sum((0, 1), keepdim=True).sqrt()
    kernel = weights[f'{conv}weight_g'] * direction / length  # (C, C/4, 6)
    padded = torch.cat((torch.zeros(3, DIMS), x, torch.zeros(3, DIMS)))
    positions = weights[f'{conv}bias'].repeat(len(x), 1)
    for place in range(len(x)):
        for channel in range(DIMS):
            first = channel // 4 * 4  # the channels of its group
            seen = padded[place : place + 6, first : first + 4]
            positions[place, channel] += (kernel[channel].T * seen).sum()
    x = norm('encoder.layer_norm', x + F.gelu(positions))
    found, alpha = [x], (2 * DEPTH) ** 0.25
    places = range(len(x))
    buckets = [[bucket(key - query) for key in places] for query in places]
    table = weights[
        'encoder.layers.0.self_attn.relative_attention_bias.weight'
    ]
    size = DIMS // HEADS
    for i in range(DEPTH):
        layer = f'encoder.layers.{i}.'
        attn = f'{layer}self_attn.'
        q, k, v = (linear(f'{attn}{letter}_proj', x) for letter in 'qkv')
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            gates = linear(f'{attn}grep_linear', q[:, part])
            a, b = gates[:, :4].sum(1), gates[:, 4:].sum(1)
            scale = weights[f'{attn}grep_a'][0, head, 0, 0]
            gate = a.sigmoid() * (b.sigmoid() * scale - 1) + 2
            bias = gate[:, None] * table[torch.tensor(buckets), head]
            logits = q[:, part] @ k[:, part].T / size**0.5 + bias
            heads.append(logits.softmax(-1) @ v[:, part])
        branch = linear(f'{attn}out_proj', torch.cat(heads, -1))
        x = norm(f'{layer}self_attn_layer_norm', alpha * x + branch)
        branch = linear(f'{layer}fc2', F.gelu(linear(f'{layer}fc1', x)))
        x = norm(f'{layer}final_layer_norm', alpha * x + branch)
        found.append(x)
    return found


@torch.no_grad()
def test_tokens_of_every_layer_are_those_of_the_equations(tmp_path):
    expert = loaded(saved(tmp_path))
    inputs = torch.randn(2, *expert.input_shape)
    tokens = [expert.embed(inputs)]
    for layer in range(DEPTH):
        attended = expert.forward_attn(tokens[-1], layer)
        tokens.append(expert.forward_ffn(attended, layer))
    assert tokens[0].shape == (2, COLUMNS, ROWS, DIMS)
    for clip in range(2):
        expected = layer_by_layer(published_weights(), inputs[clip, 0])
        for ours, theirs in zip(tokens, expected, strict=True):
            assert tiny.difference(ours[clip].flatten(0, 1), theirs) < 1e-5
        feature = expert(inputs)[clip]
        assert tiny.difference(feature, expected[-1].mean(0)) < 1e-5


def test_a_fine_tuned_file_loads_without_its_classifier(tmp_path):
    weights = published_weights()
    weights['predictor.weight'] = torch.zeros(527, DIMS)
    weights['predictor.bias'] = torch.zeros(527)
    names = {number: f'/m/{number}' for number in range(527)}
    expert = loaded(saved(tmp_path, weights, label_dict=names))
    plain = loaded(saved(tmp_path))
    tiny.assert_same(expert.state_dict(), plain.state_dict())


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='deep_norm=True.*here False'):
        loaded(saved(tmp_path), arch=dict(EXPERT['arch'], deep_norm=False))
    weights = published_weights()
    table = 'encoder.layers.1.self_attn.relative_attention_bias.weight'
    weights[table] = weights[table] + 1
    with pytest.raises(CheckpointError, match='several tables of positions'):
        loaded(saved(tmp_path, weights))
    weights = published_weights()
    del weights['encoder.layers.1.self_attn.grep_a']
    with pytest.raises(CheckpointError, match='lacks.*1.*gate_scale'):
        loaded(saved(tmp_path, weights))


@pytest.mark.parametrize('activations', ['store', 'recompute'])
def test_it_learns_beside_frames(activations):
    experts = dict(spatial=tiny.CLIP, audio=tiny.BEATS)
    backbone = dict(tiny.CAVA, experts=experts, activations=activations)
    model = tiny.recognizer(backbone).train()
    labels = tiny.samples([0, 1, 2])
    model(tiny.views(), labels, mode='loss')['loss_cls'].backward()
    for name, parameter in model.backbone.experts['audio'].named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.any())
        assert learns == ('adapter' in name), name
    out = model.eval().backbone(
        **tiny.streams(),
        return_attention=True,
    )
    axis, weights = out.attention['audio', 'audio', 0]
    assert axis == 'all'
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_half_precision_keeps_the_feature(tmp_path):
    expert = loaded(saved(tmp_path))
    inputs = torch.randn(2, *expert.input_shape)
    with torch.no_grad():
        full = expert(inputs)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = expert(inputs).float()
    assert torch.cosine_similarity(full, half).min() > 0.99


def test_steps_span_the_frames_of_their_patches():
    expert = tiny.build(EXPERT)
    frames, window = EXPERT['spec_size'][0], torch.tensor([[1.0, 2.0]])
    spans = expert.token_times(window)
    assert spans.shape == (1, COLUMNS, 1, 2)
    edges = 1 + torch.arange(COLUMNS + 1) * PATCH / frames
    torch.testing.assert_close(spans[0, :, 0, 0], edges[:-1])
    torch.testing.assert_close(spans[0, :, 0, 1], edges[1:])


@pytest.mark.slow
def test_the_graph_says_the_same_in_onnx_runtime(tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    expert = tiny.randomize(tiny.build(tiny.BEATS), 0.2)
    inputs, path = tiny.audio(1), str(tmp_path / 'beats.onnx')
    torch.onnx.export(expert, (inputs,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path)
    [name] = [entry.name for entry in session.get_inputs()]
    [found] = session.run(None, {name: inputs.numpy()})
    found = torch.from_numpy(found)
    assert tiny.difference(found, expert(inputs)) < 1e-4
