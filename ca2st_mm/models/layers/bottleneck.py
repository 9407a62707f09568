# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The way down to a link's width and back up."""

from torch import Tensor, nn

from .init import linear, zero_linear
from .linear import lean_linear


class Bottleneck(nn.Module):
    """One expert's projections to and from the width of a link.

    Built by the backbone and handed to the links, so that several links of a
    layer may share one.  The way up starts at zero: a fresh link changes
    nothing.

    Args:
        embed_dims: Channels of the expert.
        bottleneck_dims: Width of the link.
    """

    def __init__(self, embed_dims: int, bottleneck_dims: int) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.bottleneck_dims = bottleneck_dims
        self.down = linear(embed_dims, bottleneck_dims)
        self.act = nn.GELU()
        self.up = zero_linear(bottleneck_dims, embed_dims)

    def compress(self, tokens: Tensor) -> Tensor:
        """(B, T, P + N, embed_dims) -> (..., bottleneck_dims)."""
        return self.down(tokens)

    def expand(self, tokens: Tensor) -> Tensor:
        """(B, T, P + N, bottleneck_dims) -> (..., embed_dims)."""
        return lean_linear(self.up, self.act(tokens), tokens, self.act)
