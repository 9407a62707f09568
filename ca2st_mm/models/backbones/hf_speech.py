# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Speech models of ``transformers`` for :class:`HFExpert`.

One token a time step (N = 1).  All but Whisper read waveforms
(B, 1, samples, 1), which ``AudioWaveform`` makes.
"""

from torch import nn
from torch.nn.functional import gelu

from ca2st_mm.utils.errors import UsageError

from .foreign import Sizes, window_spans
from .hf_expert import FAMILIES, HFFamily


class Wav2Vec2(HFFamily):
    """wav2vec 2.0, HuBERT, data2vec; large models have their norms first."""

    reads = 'audio'
    settings = dict(num_frames='num_samples')
    layers = 'encoder.layers'

    def sizes(self, model, img_size=None):
        config = model.config
        if any(
            getattr(config, name, None)
            for name in ('add_adapter', 'adapter_attn_dim')
        ):
            raise UsageError(
                f'a {config.model_type} with adapter layers of its own is not '
                'known as an expert'
            )
        samples = getattr(config, 'num_samples', 160000)  # 10 s
        steps = int(model._get_feat_extract_output_lengths(samples))
        return Sizes(
            config.hidden_size, (1, samples, 1), (1, 1), 1, num_steps=steps
        )

    def ends(self, model):
        stable = _norms_first(model.encoder.layers[0])
        return [model.encoder.layer_norm] if stable else []

    def embed(self, model, inputs):
        x = model.feature_extractor(inputs[:, 0, :, 0]).transpose(1, 2)
        x = model.feature_projection(x)
        x = x[0] if isinstance(x, tuple) else x
        encoder = model.encoder
        x = x + encoder.pos_conv_embed(x)
        if not _norms_first(encoder.layers[0]):
            x = encoder.layer_norm(x)
        return encoder.dropout(x)

    def attend(self, block, x, context):
        return block.dropout(block.attention(x)[0])

    def attention(self, block, x, adapt, context):
        if _norms_first(block):
            return x + adapt(self.attend(block, block.layer_norm(x), context))
        return block.layer_norm(x + adapt(self.attend(block, x, context)))

    def ffn(self, block, x, adapt):
        if _norms_first(block):
            normed = block.final_layer_norm(x)
            return x + adapt(block.feed_forward(normed), normed)
        return block.final_layer_norm(x + adapt(block.feed_forward(x), x))

    def pool(self, model, x):
        for norm in self.ends(model):
            x = norm(x)
        return x.mean(dim=1)

    def token_times(self, sizes, times):
        return window_spans(times, sizes.num_steps)[:, :, None]


def _norms_first(block: nn.Module) -> bool:
    return type(block).__name__.endswith('StableLayerNorm')


class WavLM(Wav2Vec2):
    """WavLM: the first layer makes a bias of positions for all."""

    def context(self, model, tokens):
        batch, steps = tokens.shape[:2]
        first = model.encoder.layers[0].attention
        bias = first.compute_bias(steps, steps).repeat(batch, 1, 1)
        return [bias] * len(model.encoder.layers)

    def attend(self, block, x, context):
        return block.dropout(block.attention(x, position_bias=context)[0])


class Whisper(HFFamily):
    """Encoder of Whisper; reads log-mel spectrograms of 30 s."""

    reads = 'audio'
    layers, ends_with = 'layers', ('layer_norm',)
    norms = ('self_attn_layer_norm', 'final_layer_norm')

    def part(self, model):
        return model.encoder

    def sizes(self, model, img_size=None):
        config = model.config
        steps = config.max_source_positions
        stride = model.conv1.stride[0] * model.conv2.stride[0]
        return Sizes(
            config.d_model,
            (1, stride * steps, config.num_mel_bins),
            (1, 1),
            stride,
            num_steps=steps,
        )

    def embed(self, model, inputs):
        x = gelu(model.conv1(inputs[:, 0].transpose(1, 2)))
        x = gelu(model.conv2(x)).transpose(1, 2)
        return x + model.embed_positions.weight

    def attend(self, block, x, context):
        return block.self_attn(x, attention_mask=None)[0]

    def ffn(self, block, x, adapt):
        normed = block.final_layer_norm(x)
        branch = block.fc2(block.activation_fn(block.fc1(normed)))
        return x + adapt(branch, normed)

    def pool(self, model, x):
        return model.layer_norm(x).mean(dim=1)

    token_times = Wav2Vec2.token_times


FAMILIES |= {
    'data2vec-audio': Wav2Vec2,
    'hubert': Wav2Vec2,
    'wav2vec2': Wav2Vec2,
    'wavlm': WavLM,
    'whisper': Whisper,
}
