# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of clips: of each expert, fused, and tokens of any layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ca2st_mm.models.backbones import MultiExpertBackbone
from ca2st_mm.models.layers import fusions_of
from ca2st_mm.structures import as_streams

from .recognizer import Recognizer

ALONE = 'expert'  # what an expert alone is called
Features = dict[str, np.ndarray]


@torch.no_grad()
def extract(
    recognizer: Recognizer,
    samples: Sequence[Mapping],
    layers: Sequence[int] = (),
) -> Features:
    """Features of prepared samples, in one batch.

    Args:
        recognizer: The model.
        samples: What :meth:`Recognizer.prepare` returns.
        layers: Layers whose tokens are wanted, counted from 1.

    Returns:
        By name, float32, a row for each sample: the pooled feature of each
        expert (rows, C), what each classifier reads (``fused``, or
        ``fused_verb`` and ``fused_noun``; (rows, C)), both averaged over the
        views; and ``<expert>.layer<number>``, the tokens of every view after
        that layer, (rows, views, T, P + N, C).  An expert whose input a
        sample lacks has NaN.

    Raises:
        ValueError: If the model has no such layer.

    Example:
        >>> samples = [recognizer.prepare('clip.mp4')]
        >>> extract(recognizer, samples)['fused'].shape
        (1, 16)
    """
    model, head = recognizer.model, recognizer.model.cls_head
    check_layers(model.backbone, layers)
    inputs, rows = recognizer.batch(samples)['inputs'], len(samples)
    fused, tokens = {}, {}
    with recognizer.autocast():
        if isinstance(model.backbone, MultiExpertBackbone):
            output, _ = model.extract_feat(
                inputs,
                test_mode=True,
                return_tokens=tuple(layer - 1 for layer in layers),
            )
            features = getattr(output, 'features', output)
            tokens = getattr(output, 'tokens', {})
            for task, fuse in fusions_of(head).items():
                name = 'fused' if task == 'label' else f'fused_{task}'
                fused[name] = fuse(features)
        else:
            feature, _ = model.extract_feat(inputs, test_mode=True)
            features, fused = {ALONE: feature}, {'fused': feature}
            if layers:
                tokens = _tokens_of_one(model.backbone, inputs, layers)
    streams = as_streams({**features, **fused})
    found = {
        name: stream.values.float().reshape(rows, -1, stream.values.shape[-1])
        for name, stream in streams.items()
    }
    found |= {
        f'{name}.layer{layer + 1}': value.float().unflatten(0, (rows, -1))
        for (name, layer), value in tokens.items()
    }
    # NaN for what was computed from the placeholder of a missing input.
    for name, value in found.items():
        present = streams[name.partition('.layer')[0]].present
        if present is not None:
            value[present.reshape(rows, -1) == 0] = torch.nan
    return {
        name: (value if '.layer' in name else value.mean(1)).cpu().numpy()
        for name, value in found.items()
    }


def check_layers(backbone: nn.Module, layers: Sequence[int]) -> None:
    """Raise ``ValueError`` unless a backbone has these layers, from 1."""
    depth = backbone.num_layers
    if wrong := [layer for layer in layers if not 1 <= layer <= depth]:
        raise ValueError(f'the model has the layers 1 to {depth}, got {wrong}')


def _tokens_of_one(
    expert: nn.Module, inputs: Any, layers: Sequence[int]
) -> dict[tuple[str, int], Tensor]:
    """Tokens of a lone expert after layers, (batch * views, T, P + N, C)."""
    found = {}
    tokens = expert.embed(inputs.flatten(0, 1))
    for layer in range(max(layers)):
        tokens = expert.forward_attn(tokens, layer)
        tokens = expert.forward_ffn(tokens, layer)
        if layer + 1 in layers:
            found[ALONE, layer] = tokens
    return found
