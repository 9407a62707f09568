# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Building blocks; they know nothing of experts, links or registries."""

from .fusion import ExpertFusion, fusions_of
from .tokens import TokenGrid, TokenSpec
from .transformer import (
    Adapter,
    AttentionBlock,
    CrossAttention,
    DropPath,
    FeedForwardBlock,
    LayerOptions,
    ResidualAdapter,
    SelfAttention,
    from_sequences,
    to_sequences,
)

__all__ = [
    'Adapter',
    'AttentionBlock',
    'CrossAttention',
    'DropPath',
    'ExpertFusion',
    'FeedForwardBlock',
    'LayerOptions',
    'ResidualAdapter',
    'SelfAttention',
    'TokenGrid',
    'TokenSpec',
    'from_sequences',
    'fusions_of',
    'to_sequences',
]
