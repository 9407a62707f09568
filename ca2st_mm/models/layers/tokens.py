# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What an expert says about its tokens, (B, T, P + N, C)."""

from typing import NamedTuple


class TokenSpec(NamedTuple):
    """Shape of an expert's tokens.

    They are ``(B, num_steps, num_prefix_tokens + num_patches, embed_dims)``;
    the prefix tokens (class, distillation) come first.

    Example:
        >>> TokenSpec(embed_dims=768, num_steps=8, num_patches=196)
        TokenSpec(embed_dims=768, num_steps=8, num_patches=196,
                  num_prefix_tokens=0)
    """

    embed_dims: int
    num_steps: int
    num_patches: int
    num_prefix_tokens: int = 0


class TokenGrid(NamedTuple):
    """Where the patches of one step lie in the input; for figures only.

    Patch ``row * columns + column`` is a square of ``patch`` units that
    starts ``row * stride`` and ``column * stride`` after the first.  Units
    are pixels, or mel bands (rows, from the lowest) and frames (columns) of a
    spectrogram.

    An expert that has this as ``token_grid`` can be shown over its input.
    """

    rows: int
    columns: int
    patch: int
    stride: int
    kind: str = 'image'  # or 'spectrogram'
