# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .bottleneck_cross_attention import (
    BottleneckCrossAttention,
    GridCrossAttention,
    TimeEncoder,
)
from .patch_links import AdapterLink, CrossAttentionLink, LateralLink

__all__ = [
    'AdapterLink',
    'BottleneckCrossAttention',
    'CrossAttentionLink',
    'GridCrossAttention',
    'LateralLink',
    'TimeEncoder',
]
