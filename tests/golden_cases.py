# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Golden cases of the reference models: configs, weights and inputs by rule.

A case is rebuilt from its ``spec.json`` alone: our config on one side, the
reference's parameters (made by rule from their names) on the other.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS

from ca2st_mm.checkpoints import detect_layout

GOLDEN = Path(__file__).resolve().parents[2] / 'shared' / 'golden'
TINY = [
    'cast_tiny_single',
    'cast_tiny_compo',
    'cava_tiny_single',
    'cava_tiny_time',
    'cava_tiny_stpos',
    'cava_tiny_compo',
    'ca2st_tiny_single',
    'ca2st_tiny_share',
    'ca2st_tiny_add',
]
BASE = ['cast_base_single', 'ca2st_base_single']


def require_golden():
    if not GOLDEN.is_dir():
        pytest.skip(f'golden data of the reference models not at {GOLDEN}')


def normal(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode('utf-8')))
    return rng.standard_normal(tuple(shape)).astype(np.float32)


class GoldenCase:
    """One case: spec, expected values, weights, inputs and our config."""

    def __init__(self, name):
        require_golden()
        self.name = name
        folder = GOLDEN / name
        self.spec = json.loads((folder / 'spec.json').read_text())
        self.keys = json.loads((folder / 'keys.json').read_text())
        self.expected = np.load(folder / 'expected.npz')
        self.grads = np.load(folder / 'grads.npz')
        self.family = name.split('_')[0]

    def reference_state_dict(self):
        weights = {
            name: torch.from_numpy(self._parameter(name, shape))
            for name, shape in self.keys.items()
        }
        aliases = self.spec['aliases']
        shared = {name: weights[target] for name, target in aliases.items()}
        return {**weights, **shared}

    def _parameter(self, name, shape):
        n = normal(name, shape)
        if len(shape) == 1 and name.endswith('weight'):
            return np.float32(1) + np.float32(0.02) * n
        scales = self.spec['scales']
        return n * np.float32(next(s for sub, s in scales if sub in name))

    def inputs(self):
        """Inputs of our backbone, by stream."""
        shapes = self.spec['input_shapes']
        raw = {k: torch.from_numpy(normal(k, s)) for k, s in shapes.items()}
        inputs = dict(imgs=raw['input.video'])
        if 'input.audio' in raw:
            times = raw['input.time']
            inputs['audios'] = raw['input.audio'][:, :1]
            inputs['audios_times'] = times[:, :2]
            inputs['imgs_times'] = times[:, 2:]
        return inputs

    @property
    def arch(self):
        spec = self.spec
        return dict(
            embed_dims=spec['dim'],
            num_layers=spec['depth'],
            num_heads=spec['heads'],
            feedforward_channels=spec['dim'] * spec['mlp_ratio'],
            patch_size=spec['patch_size'],
        )

    def expert(self, name):
        spec = self.spec
        common = dict(adapter_ratio=spec['adapter_ratio'], frozen_parts=())
        if name == 'spatial':
            return dict(
                common,
                type='CLIPExpert',
                arch=self.arch,
                img_size=spec['image_size'],
                num_frames=spec['spatial_expert_frames'],
                frame_stride=spec['tubelet'],
                norm_eps=spec['layer_norm_eps']['spatial post norm'],
            )
        if name == 'temporal':
            return dict(
                common,
                type='VideoMAEExpert',
                arch=dict(self.arch, tubelet_size=spec['tubelet']),
                img_size=spec['image_size'],
                num_frames=spec['frames'],
            )
        spectrogram = spec['spectrogram']
        return dict(
            common,
            type='ASTExpert',
            arch=self.arch,
            spec_size=(spectrogram['frames'], spectrogram['mel_bins']),
            num_time_bins=spec['spatial_expert_frames'],
            clock='transposed',
        )

    def links(self):
        spec = self.spec
        b_ca = dict(
            type='BottleneckCrossAttention',
            ratio=spec['bottleneck_dim'] / spec['dim'],
            num_heads=spec['bottleneck_heads'],
        )
        start = spec['cross_attention_layers']
        position = []
        if spec.get('learned_positions_in_audio_cross_attention'):
            position.append('learned_space_time')
        if spec.get('time_encoding'):
            position.append('timestamp')
        audio = dict(b_ca, position=position)
        space_time = dict(
            b_ca, between=('spatial', 'temporal'), axes=('time', 'space')
        )
        if self.family == 'cast':
            return [space_time]
        if self.family == 'cava':
            return [
                dict(audio, between=('spatial', 'audio'), axes=('all', 'all'))
            ]
        audio['start_layer'] = start['audio pairs from layer']
        return [
            space_time,
            dict(audio, between=('spatial', 'audio'), axes=('all', 'all')),
            dict(audio, between=('temporal', 'audio'), axes=('all', 'all')),
        ]

    def backbone(self):
        spec = self.spec
        streams = dict(spatial='imgs', temporal='imgs', audio='audios')
        names = [n for n in streams if n in spec['streams']]
        time_encoders = None
        if spec.get('time_encoding'):
            own = dict(embed_dims=spec['bottleneck_dim'])
            split = spec['separate_time_encoders_for_audio_and_video']
            time_encoders = dict(imgs=own, audios=own if split else 'imgs')
        additive = 'add' in spec.get('pair_fusion', '').split()[:1] or (
            self.name.endswith('_add')
        )
        return dict(
            type='MultiExpertBackbone',
            experts={n: self.expert(n) for n in names},
            inputs={n: streams[n] for n in names},
            links=self.links(),
            exchange='additive' if additive else 'sequential',
            share_bottlenecks=spec.get(
                'share_bottleneck_projections_between_pairs', False
            ),
            time_encoders=time_encoders,
        )

    def head(self):
        dims = self.spec['dim']
        plain, residual = dict(type='Adapter'), dict(type='ResidualAdapter')
        audio = dict(plain, activation='quick_gelu', zero_init=False)
        adapters = dict(
            cast=dict(spatial=plain, temporal=plain),
            cava=dict(audio=residual, spatial=residual),
            ca2st=dict(spatial=plain, temporal=plain, audio=audio),
        )[self.family]
        if not self.spec['composition']:
            return dict(
                type='FusionHead',
                num_classes=self.spec['classes'],
                in_channels={name: dims for name in adapters},
                adapters=adapters,
            )
        fusions = dict(
            cast=dict(
                verb=dict(
                    in_channels=dict(temporal=dims),
                    adapters=dict(temporal=dict(type='Identity')),
                ),
                noun=dict(
                    in_channels=dict(spatial=dims),
                    adapters=dict(spatial=dict(type='Identity')),
                ),
            ),
            cava=dict(
                verb=dict(
                    in_channels=dict(audio=dims, spatial=dims),
                    adapters=adapters,
                ),
                noun='verb',
            ),
            ca2st=dict(
                verb=dict(
                    in_channels=dict(temporal=dims, audio=dims),
                    adapters=dict(temporal=plain, audio=audio),
                ),
                noun=dict(
                    in_channels=dict(spatial=dims, audio=dims),
                    adapters=dict(spatial=plain, audio=audio),
                ),
            ),
        )[self.family]
        classes = self.spec['classes']
        return dict(
            type='VerbNounHead',
            num_verbs=classes['verb'],
            num_nouns=classes['noun'],
            fusions=fusions,
        )

    def model(self, dtype=torch.float32):
        """Our recognizer with the reference's weights, in eval mode."""
        model = MODELS.build(
            dict(
                type='MultiExpertRecognizer',
                backbone=self.backbone(),
                cls_head=self.head(),
            )
        )
        weights = self.reference_state_dict()
        conversion = detect_layout(weights).convert(weights)
        model.load_state_dict(conversion.state_dict, strict=True)
        return model.to(dtype).eval()

    def logits(self, model, dtype=torch.float32):
        inputs = {k: v.to(dtype) for k, v in self.inputs().items()}
        return model.cls_head(model.backbone(**inputs))


class VerbNounCase(GoldenCase):
    """A case of CA2ST with the verb and noun head instead of its own.

    No measured case has this head.  Its parameters follow the same rule, and
    what it must give follows from the measured features.
    """

    def __init__(self, name):
        super().__init__(name)
        dims, hidden = self.spec['dim'], self.spec['dim'] // 4
        self.spec = dict(
            self.spec, composition=True, classes=dict(noun=300, verb=97)
        )
        self.keys = {
            key: shape
            for key, shape in self.keys.items()
            if not key.startswith('head.')
        }
        adapter = 'audio_noun_last_Adapter'
        self.keys |= {
            f'{adapter}.c_fc.weight': [hidden, dims],
            f'{adapter}.c_fc.bias': [hidden],
            f'{adapter}.c_proj.weight': [dims, hidden],
            f'{adapter}.c_proj.bias': [dims],
        }
        for task, classes in self.spec['classes'].items():
            self.keys[f'head_{task}.weight'] = [classes, dims]
            self.keys[f'head_{task}.bias'] = [classes]

    def expected_logits(self):
        """By task: the adapters' sum of two experts, and a classifier."""
        weights = {
            key: value.double().numpy()
            for key, value in self.reference_state_dict().items()
        }

        def dense(name, x):
            return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

        def gelu(x):
            return x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2

        def quick_gelu(x):
            return x / (1 + np.exp(-1.702 * x))

        logits = {}
        for task, expert in (('verb', 'temporal'), ('noun', 'spatial')):
            seen = self.expected[f'pooled.{expert}'].astype(np.float64)
            heard = self.expected['pooled.audio'].astype(np.float64)
            adapter = f'{task}_last_Adapter'
            seen = gelu(dense(f'{adapter}.D_fc1', seen))
            heard = quick_gelu(dense(f'audio_{adapter}.c_fc', heard))
            fused = dense(f'{adapter}.D_fc2', seen)
            fused = fused + dense(f'audio_{adapter}.c_proj', heard)
            logits[task] = dense(f'head_{task}', fused)
        return logits
