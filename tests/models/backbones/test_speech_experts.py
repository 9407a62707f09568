# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Speech models of transformers equal their library, layer by layer."""

import pytest
import tiny_models as tiny
import torch

transformers = pytest.importorskip('transformers', minversion='5.23')

SAMPLES = 200
SPEECH = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    conv_dim=(8, 8),
    conv_kernel=(10, 3),
    conv_stride=(5, 2),
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
)
STABLE = dict(SPEECH, do_stable_layer_norm=True, feat_extract_norm='layer')
WHISPER = dict(
    d_model=16,
    encoder_layers=2,
    decoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    decoder_attention_heads=2,
    num_mel_bins=8,
    max_source_positions=10,
    vocab_size=50,
    pad_token_id=0,
    bos_token_id=0,
    eos_token_id=0,
    decoder_start_token_id=0,
)
MODELS = {
    'wav2vec2': SPEECH,
    'wav2vec2-large': STABLE,
    'hubert': SPEECH,
    'hubert-large': STABLE,
    'wavlm': SPEECH,
    'wavlm-large': STABLE,
    'data2vec-audio': SPEECH,
    'whisper': WHISPER,
}
every_model = pytest.mark.parametrize('name', MODELS)


@pytest.fixture
def expert_of(tmp_path):
    """The expert of a folder that the library wrote, and its own model."""

    def make(name):
        kind = name.removesuffix('-large')
        config = transformers.AutoConfig.for_model(kind, **MODELS[name])
        model = tiny.randomize(transformers.AutoModel.from_config(config), 0.2)
        model.save_pretrained(tmp_path / name)
        cfg = dict(type='HFExpert', model=f'local-dir:{tmp_path / name}')
        if kind != 'whisper':
            cfg['num_frames'] = SAMPLES
        expert = tiny.build(cfg)
        expert.init_weights()
        return expert, model.eval()

    return make


@every_model
@torch.no_grad()
def test_tokens_of_every_layer_equal_the_library_s(name, expert_of):
    expert, model = expert_of(name)
    inputs = torch.randn(2, *expert.input_shape)
    found = []
    encoder = model.encoder
    for layer in encoder.layers:
        layer.register_forward_hook(
            lambda *args: found.append(
                args[-1][0] if isinstance(args[-1], tuple) else args[-1]
            )
        )
    if name == 'whisper':
        last = encoder(inputs[:, 0].transpose(1, 2)).last_hidden_state
    else:
        last = model(inputs[:, 0, :, 0]).last_hidden_state
    tokens = expert.embed(inputs)
    spec = expert.token_spec
    assert tokens.shape == (2, spec.num_steps, 1, 16)
    context = expert.context(tokens)
    for layer, expected in enumerate(found):
        tokens = expert.forward_attn(tokens, layer, context=context)
        tokens = expert.forward_ffn(tokens, layer)
        assert tiny.difference(tokens[:, :, 0], expected) < 1e-5
        assert expected.std() > 0.1
    assert tiny.difference(expert(inputs), last.mean(1)) < 1e-5


@pytest.mark.parametrize('name', ['wavlm', 'hubert-large', 'whisper'])
def test_it_learns_beside_frames(name, expert_of):
    expert, _ = expert_of(name)
    cfg = dict(type='HFExpert', model=expert.model)
    if name != 'whisper':
        cfg['num_frames'] = SAMPLES
    experts = dict(spatial=tiny.CLIP, audio=cfg)
    model = tiny.recognizer(dict(tiny.CAVA, experts=experts)).train()
    views = tiny.views()
    views['audios'] = torch.randn(tiny.BATCH, 1, *expert.input_shape)
    labels = tiny.samples([0, 1, 2])
    model(views, labels, mode='loss')['loss_cls'].backward()
    for key, parameter in model.backbone.experts['audio'].named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.any())
        assert learns == key.startswith('adapters'), key


def test_steps_tile_the_window(expert_of):
    expert, _ = expert_of('hubert')
    spans = expert.token_times(torch.tensor([[1.0, 3.0]]))
    steps = expert.token_spec.num_steps
    edges = torch.linspace(1, 3, steps + 1)
    assert spans.shape == (1, steps, 1, 2)
    torch.testing.assert_close(spans[0, :, 0, 0], edges[:-1])
    torch.testing.assert_close(spans[0, :, 0, 1], edges[1:])
