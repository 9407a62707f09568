# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Fusion of pooled expert features before a classifier."""

from typing import Any

from torch import Tensor, nn

from ca2st_mm.structures import Stream, as_streams
from ca2st_mm.utils.errors import check_choice

from .transformer import Adapter, ResidualAdapter

ADAPTERS = {
    'Adapter': Adapter,
    'ResidualAdapter': ResidualAdapter,
    'Identity': nn.Identity,
}


def _build_adapter(
    in_dims: int, out_dims: int, type: str = 'Adapter', **options: Any
) -> nn.Module:
    check_choice('an adapter of the fusion', type, ADAPTERS)
    return ADAPTERS[type](in_dims, out_dims, **options)


def at_least_one(count: int | Tensor) -> int | Tensor:
    """A number to divide by where no expert may be present; any shape."""
    return count.clamp(min=1) if isinstance(count, Tensor) else count


class ExpertFusion(nn.Module):
    """Sum, mean or concatenation of one adapter per expert.

    Experts that are absent (no such input, or a sample without it) take no
    part: the sum runs over what is there, in the order of the names; in a
    concatenation they are zeros.

    Args:
        in_channels: Feature width of each expert that takes part.
        adapters: Adapter config of each expert: type 'Adapter',
            'ResidualAdapter' or 'Identity' and its arguments.
        reduction: 'sum' or 'mean' over the experts, or 'concat'.
        out_channels: Width of the fused feature; needed only if the experts
            differ in width.  A concatenation has the sum of their widths.

    Raises:
        ValueError: If names, widths or the reduction do not fit.

    Example:
        >>> import torch
        >>> fuse = ExpertFusion(dict(spatial=768, audio=768))
        >>> fuse(dict(spatial=torch.randn(2, 768))).shape
        torch.Size([2, 768])
    """

    def __init__(
        self,
        in_channels: dict[str, int],
        adapters: dict[str, dict] | None = None,
        reduction: str = 'sum',
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        adapters = adapters or {}
        if unknown := set(adapters) - set(in_channels):
            raise ValueError(
                f'adapters name {sorted(unknown)}, which in_channels '
                f'{sorted(in_channels)} does not; add its width there'
            )
        check_choice('reduction', reduction, ('sum', 'mean', 'concat'))
        widths = set(in_channels.values())
        if reduction == 'concat':
            out_channels = sum(in_channels.values())
        elif out_channels is None and len(widths) > 1:
            raise ValueError(
                f'in_channels {dict(in_channels)} differ; give the width of '
                'the fused feature as out_channels'
            )
        self.out_channels = out_channels or min(widths)
        self.reduction = reduction
        self.adapters = nn.ModuleDict()
        start = 0
        for name, dims in sorted(in_channels.items()):
            width = dims if reduction == 'concat' else self.out_channels
            adapter = _build_adapter(dims, width, **adapters.get(name, {}))
            if reduction == 'concat':  # a sum of parts side by side
                rest = self.out_channels - start - dims
                place = nn.ConstantPad1d((start, rest), 0.0)
                adapter, start = nn.Sequential(adapter, place), start + dims
            self.adapters[name] = adapter

    def forward(self, feats: dict[str, Tensor | Stream]) -> Tensor:
        """Fuse features {expert: (B, C)} to (B, C).

        A feature may be a ``Stream`` with presence (B, 1), 0 where a sample
        lacks the input of that expert; a sample without any expert gives
        zeros.

        Raises:
            KeyError: If no expert of this fusion is in ``feats``.
        """
        names = [name for name in self.adapters if name in feats]
        if not names:
            raise KeyError(
                f'the head fuses {list(self.adapters)}, but the backbone gave '
                f'{list(feats)}; in_channels must name its experts'
            )
        total, count, streams = 0, 0, as_streams(feats)
        for name in names:
            feature, _, present = streams[name]
            present = 1 if present is None else present
            total = total + present * self.adapters[name](feature)
            count = count + present
        if self.reduction == 'mean':
            return total / at_least_one(count)
        return total


def fusions_of(head: nn.Module) -> dict[str, ExpertFusion]:
    """What each classifier of a head takes, by task; empty if it is unknown.

    A head says it as ``fusion_by_task``, or with one classifier as ``fusion``.
    """
    if hasattr(head, 'fusion_by_task'):
        return head.fusion_by_task
    return dict(label=head.fusion) if hasattr(head, 'fusion') else {}
