# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Golden cases of the reference models: recipes, weights and inputs by rule.

A case is rebuilt from its ``spec.json`` alone: on one side the model of our
``as_released`` recipe at the size of the case, on the other the reference's
parameters, made by rule from their names.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from shrunk_models import without_init

from ca2st_mm.checkpoints import detect_layout
from ca2st_mm.structures import Stream, as_streams

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
# By family, the recipes with one classifier and with verbs and nouns.
RECIPES = dict(
    cast=('k400', 'ek100'), cava=('vggsound', 'ek100'), ca2st=('k400', 'ek100')
)
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
            inputs['audios'] = Stream(raw['input.audio'][:, :1], times[:, :2])
            inputs['imgs'] = Stream(inputs['imgs'], times[:, 2:])
        return inputs

    def config(self):
        """The model of the recipe, at the size and with the options here."""
        spec, composed = self.spec, self.spec['composition']
        benchmark = RECIPES[self.family][composed]
        path = f'{self.family}/{self.family}_{benchmark}_as_released.py'
        cfg = without_init(Config.fromfile(CONFIGS / path).model.to_dict())
        backbone, head = cfg['backbone'], cfg['cls_head']
        steps, side = spec['spatial_expert_frames'], spec['image_size']
        audio = spec.get('spectrogram')
        sizes = dict(
            spatial=dict(num_frames=steps, img_size=side),
            temporal=dict(num_frames=spec['frames'], img_size=side),
            audio=audio
            and dict(
                spec_size=(audio['frames'], audio['mel_bins']),
                num_time_bins=steps,
                position_fit='crop',
            ),
        )
        arch = dict(
            embed_dims=spec['dim'],
            num_layers=spec['depth'],
            num_heads=spec['heads'],
            feedforward_channels=spec['dim'] * spec['mlp_ratio'],
        )
        for name, expert in backbone['experts'].items():
            expert |= dict(sizes[name], arch=arch, frozen_parts=())
        position = []
        if spec.get('learned_positions_in_audio_cross_attention'):
            position.append('learned_space_time')
        if spec.get('time_encoding'):
            position.append('timestamp')
        for link in backbone['links']:
            link['num_heads'] = spec['bottleneck_heads']
            if 'audio' in link['between']:
                link['position'] = position
            if 'start_layer' in link:
                layers = spec['cross_attention_layers']
                link['start_layer'] = layers['audio pairs from layer']
        own = dict(embed_dims=spec['bottleneck_dim'])
        split = spec.get('separate_time_encoders_for_audio_and_video')
        backbone.update(
            exchange='additive'
            if self.name.endswith('_add')
            else 'sequential',
            share_bottlenecks=spec.get(
                'share_bottleneck_projections_between_pairs', False
            ),
            time_encoders=dict(imgs=own, audios=own if split else 'imgs')
            if spec.get('time_encoding')
            else None,
        )
        fusions = head.get('fusions', dict(only=head)).values()
        for fusion in (f for f in fusions if isinstance(f, dict)):
            experts = fusion['in_channels']
            fusion['in_channels'] = dict.fromkeys(experts, spec['dim'])
        if not composed:
            head['num_classes'] = spec['classes']
        return dict(cfg, data_preprocessor=None)

    def model(self, dtype=torch.float32):
        """Our recognizer with the reference's weights, in eval mode."""
        model = MODELS.build(self.config())
        weights = self.reference_state_dict()
        conversion = detect_layout(weights).convert(weights)
        model.load_state_dict(conversion.state_dict, strict=True)
        return model.to(dtype).eval()

    def logits(self, model, dtype=torch.float32):
        inputs = {
            name: stream.map(lambda part: part.to(dtype))
            for name, stream in as_streams(self.inputs()).items()
        }
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
