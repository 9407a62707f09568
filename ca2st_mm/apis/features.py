# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a model knows before it names a class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .recognizer import Recognizer
from .scores import head_output

# Features that classifiers read, by the name of the classifier in its head.
FUSED = {'fc_cls': 'fused', 'fc_verb': 'fused_verb', 'fc_noun': 'fused_noun'}
# What an expert alone is called.
ALONE = 'expert'

Features = dict[str, np.ndarray]


@torch.no_grad()
def extract(
    recognizer: Recognizer,
    samples: Sequence[Mapping],
    layers: Sequence[int] = (),
) -> Features:
    """Features of prepared samples, in one batch.

    Args:
        recognizer: Whose features.
        samples: What :meth:`Recognizer.prepare` returns.
        layers: Layers whose tokens are wanted, from 0.

    Returns:
        By name, float32, a row for each sample: the pooled feature of each
        expert (rows, C), what each classifier reads (``fused``, or
        ``fused_verb`` and ``fused_noun``; (rows, C)), both averaged over the
        views; and ``<expert>.layer<number>``, the tokens of every view after
        that layer, (rows, views, T, P + N, C).  An expert whose input a
        sample lacks has NaN.

    Raises:
        ValueError: If the model has no such layer.
    """
    model = recognizer.model
    experts = experts_of(model.backbone)
    check_layers(experts, layers)
    data = recognizer.batch(samples)
    found: dict[str, list[Tensor]] = {}
    with (
        _recorded_pools(model, found),
        _recorded_tokens(experts, layers, found),
        _recorded_fusions(model.cls_head, found),
    ):
        head_output(model, data['inputs'])
    rows = len(samples)
    # Chunks of views (`max_testing_views`) come one after the other.
    stacked = {
        name: torch.cat(parts).float().unflatten(0, (rows, -1))
        for name, parts in found.items()
    }
    _forget_absent(stacked)
    return {
        name: (value if '.layer' in name else value.mean(1)).cpu().numpy()
        for name, value in stacked.items()
    }


def check_layers(experts: Mapping[str, Any], layers: Sequence[int]) -> None:
    """Raise ``ValueError`` unless all experts have these layers."""
    depth = min(expert.num_layers for expert in experts.values())
    if wrong := [layer for layer in layers if not 0 <= layer < depth]:
        raise ValueError(
            f'the model has the layers 0 to {depth - 1}, got {wrong}'
        )


def experts_of(backbone: nn.Module) -> Mapping[str, Any]:
    """The experts of a backbone by name; a lone one is called 'expert'."""
    return dict(getattr(backbone, 'experts', {ALONE: backbone}))


def _forget_absent(features: dict[str, Tensor]) -> None:
    """NaN for what was computed from a stand-in of a missing input."""
    for flag in [name for name in features if name.endswith('_present')]:
        expert = flag.removesuffix('_present')
        absent = features.pop(flag)[..., 0] == 0
        for name, value in features.items():
            if name == expert or name.startswith(f'{expert}.layer'):
                value[absent] = torch.nan


@contextmanager
def _recorded_pools(
    model: nn.Module, found: dict[str, list[Tensor]]
) -> Iterator[None]:
    """Note what the backbone gives to the head."""

    def note(module: nn.Module, args: Any, output: Any) -> None:
        pooled = output if isinstance(output, Mapping) else {ALONE: output}
        for name, feature in pooled.items():
            found.setdefault(name, []).append(feature)

    hook = model.backbone.register_forward_hook(note)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _recorded_fusions(
    head: nn.Module, found: dict[str, list[Tensor]]
) -> Iterator[None]:
    """Note what the classifiers of a head read."""

    def noting(name: str) -> Callable:
        return lambda module, args: found.setdefault(name, []).append(args[0])

    hooks = [
        getattr(head, classifier).register_forward_pre_hook(noting(name))
        for classifier, name in FUSED.items()
        if hasattr(head, classifier)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _recorded_tokens(
    experts: Mapping[str, Any],
    layers: Sequence[int],
    found: dict[str, list[Tensor]],
) -> Iterator[None]:
    """Note the tokens that leave layers.

    The halves of a layer are methods of the expert, on which no hook of
    PyTorch fires; for the time being the instance has one that notes.
    """

    def noting(name: str, half: Callable) -> Callable:
        def forward_ffn(tokens: Tensor, layer: int) -> Tensor:
            tokens = half(tokens, layer)
            if layer in layers:
                key = f'{name}.layer{layer}'
                found.setdefault(key, []).append(tokens)
            return tokens

        return forward_ffn

    for name, expert in experts.items():
        expert.forward_ffn = noting(name, expert.forward_ffn)
    try:
        yield
    finally:
        for expert in experts.values():
            del expert.forward_ffn
