# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .bottleneck_cross_attention import (
    BottleneckCrossAttention,
    GridCrossAttention,
    TimeEncoder,
)

__all__ = ['BottleneckCrossAttention', 'GridCrossAttention', 'TimeEncoder']
