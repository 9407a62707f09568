# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Building blocks; they know nothing of experts, links or registries."""

from .adapter import Adapter, ResidualAdapter
from .attention import CrossAttention, SelfAttention
from .bottleneck import Bottleneck
from .drop_path import DropPath, TokenDropPath
from .fusion import ExpertFusion
from .grid_position import (
    LearnedPosition,
    LearnedSpaceTimePosition,
    TimeEncoder,
    TimestampPosition,
)
from .tokens import TokenSpec, fold, unfold
from .transformer import (
    AttentionBlock,
    ExpertLayer,
    FeedForwardBlock,
    LayerOptions,
)

__all__ = [
    'Adapter',
    'AttentionBlock',
    'Bottleneck',
    'CrossAttention',
    'DropPath',
    'ExpertFusion',
    'ExpertLayer',
    'FeedForwardBlock',
    'LayerOptions',
    'LearnedPosition',
    'LearnedSpaceTimePosition',
    'ResidualAdapter',
    'SelfAttention',
    'TimeEncoder',
    'TimestampPosition',
    'TokenDropPath',
    'TokenSpec',
    'fold',
    'unfold',
]
