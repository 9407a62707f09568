# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Stochastic depth: drop a residual branch of whole samples.

:class:`TokenDropPath` is the quirk of the reference code (it drops dimension 0
of tensors it stores token-first); only an exact retraining needs it.
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop the branch of random samples and rescale the others.

    Args:
        rate: Probability of dropping, in [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'a drop path rate lies in [0, 1), got {rate}')
        self.rate = rate

    def mask_shape(self, tokens: Tensor) -> tuple[int, ...]:
        """Shape of the mask: one entry for each sample."""
        return (tokens.shape[0],) + (1,) * (tokens.ndim - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply to a branch (B, T, N, C); the identity in eval mode."""
        if not self.training or self.rate == 0:
            return tokens
        keep = 1 - self.rate
        mask = tokens.new_empty(self.mask_shape(tokens)).bernoulli_(keep)
        return tokens * (mask / keep)

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f'rate={self.rate}'


class TokenDropPath(DropPath):
    """Drop token positions, the same ones in all samples and time steps."""

    def mask_shape(self, tokens: Tensor) -> tuple[int, ...]:
        """Shape of the mask: one entry for each token of a step."""
        return (1, 1, tokens.shape[2], 1)


DROP_PATHS = {'sample': DropPath, 'token': TokenDropPath}


def build_drop_path(rate: float, unit: str = 'sample') -> nn.Module:
    """Build stochastic depth that drops samples or tokens.

    Raises:
        ValueError: If ``unit`` is neither 'sample' nor 'token'.
    """
    if unit not in DROP_PATHS:
        raise ValueError(
            f'drop_path_unit must be one of {sorted(DROP_PATHS)}, got {unit!r}'
        )
    return DROP_PATHS[unit](rate)


def drop_path_rates(rate: float, num_layers: int) -> list[float]:
    """Rates that grow linearly from 0 in the first to ``rate``."""
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
