# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Converted weights reproduce recorded outputs of transformers' models."""

import json

import numpy as np
import pytest
import torch
from golden_cases import GOLDEN, normal, require_golden
from layouts import run_expert
from mmaction.registry import MODELS

from ca2st_mm.checkpoints import detect_layout

TINY = ['hf_clip_tiny', 'hf_videomae_tiny', 'hf_ast_tiny']
SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ('hf_clip_base', 'hf_ast_base')
]
# The float32 noise of the recorded models is 6e-7.
TOLERANCE = 5e-6


class Case:
    """Weights and inputs by rule, recorded outputs and our expert."""

    def __init__(self, name):
        require_golden()
        folder = GOLDEN / name
        self.spec = json.loads((folder / 'spec.json').read_text())
        self.keys = json.loads((folder / 'keys.json').read_text())
        self.expected = np.load(folder / 'expected.npz')
        self.model = name.split('_')[1]

    def state_dict(self, on_disk=False):
        names = self.spec['names_on_disk_where_they_differ']
        names = names if on_disk else {}
        return {
            names.get(name, name): torch.from_numpy(self._weight(name, shape))
            for name, shape in self.keys.items()
        }

    def _weight(self, name, shape):
        noise = normal(name, shape)
        if len(shape) == 1 and name.endswith('weight'):
            return np.float32(1) + np.float32(0.02) * noise
        scales = self.spec['scales']
        return noise * np.float32(next(s for sub, s in scales if sub in name))

    def inputs(self):
        (name, shape), *_ = self.spec['input_shapes'].items()
        values = torch.from_numpy(normal(name, shape))
        return values[:, None] if self.model == 'ast' else values

    def expert(self):
        config = self.spec['configuration']
        arch = dict(
            embed_dims=config['hidden_size'],
            num_layers=config['num_hidden_layers'],
            num_heads=config['num_attention_heads'],
            feedforward_channels=config['intermediate_size'],
            patch_size=config['patch_size'],
        )
        own = dict(
            clip=dict(type='CLIPExpert', num_frames=1),
            videomae=dict(
                type='VideoMAEExpert', num_frames=config.get('num_frames')
            ),
            ast=dict(
                type='ASTExpert',
                spec_size=(
                    config.get('max_length'),
                    config.get('num_mel_bins'),
                ),
            ),
        )[self.model]
        expert = MODELS.build(dict(own, arch=arch, adapter_ratio=None))
        # The official code of VideoMAE and AST, and so our experts, have 1e-6
        # everywhere; transformers has 1e-12, and 1e-5 in VideoMAE's last norm.
        for module in expert.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = config['layer_norm_eps']
        if self.model == 'videomae':
            expert.norm.eps = 1e-5
        return expert.eval()

    def outputs(self, state_dict):
        conversion = detect_layout(state_dict).convert(state_dict)
        expert = self.expert()
        expert.load_state_dict(conversion.state_dict, strict=True)
        return run_expert(expert, self.inputs())


def relative(ours, expected):
    ours = ours.double().numpy()
    return np.linalg.norm(ours - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize('on_disk', [False, True], ids=['memory', 'disk'])
@pytest.mark.parametrize('name', TINY + SLOW)
def test_outputs(name, on_disk):
    case = Case(name)
    outputs = case.outputs(case.state_dict(on_disk))
    for stage in ('embed', 'layer0', 'last_hidden_state'):
        tokens = outputs[stage]
        picked = [0, 1, tokens.shape[1] // 2, tokens.shape[1] - 1]
        found = dict(
            mean=tokens.mean(1),
            std=tokens.std(1, correction=0),
            sample=tokens[:, picked],
        )
        for key, value in found.items():
            expected = case.expected[f'{stage}.{key}']
            assert relative(value, expected) < TOLERANCE, f'{stage}.{key}'
    pooled = relative(outputs['pooled'], case.expected['pooled'])
    assert pooled < TOLERANCE
    if 'last_hidden_state' in case.expected:
        expected = case.expected['last_hidden_state']
        assert relative(outputs['last_hidden_state'], expected) < TOLERANCE
