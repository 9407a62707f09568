# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What all wrapped ViTs have in common: adapters around foreign blocks."""

from collections.abc import Iterator
from typing import NoReturn

import torch
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.adapter import Adapter, ResidualAdapter
from ..layers.attention import Attend
from ..layers.drop_path import build_drop_path, drop_path_rates
from ..layers.tokens import fold, unfold
from .expert import TransformerExpert


class LayerAdapters(nn.Module):
    """The two adapters of one layer of a wrapped backbone.

    Args:
        embed_dims: Channels of the expert.
        ratio: Hidden part of the adapters; None builds none.
        drop_path_rate: Stochastic depth of the adapter beside the FFN.
    """

    scale = 0.5

    def __init__(
        self, embed_dims: int, ratio: float | None, drop_path_rate: float
    ) -> None:
        super().__init__()
        has_adapters = ratio is not None
        self.attention = (
            ResidualAdapter(embed_dims, ratio=ratio)
            if has_adapters
            else nn.Identity()
        )
        self.ffn = Adapter(embed_dims, ratio=ratio) if has_adapters else None
        self.drop_path = build_drop_path(drop_path_rate)

    def beside_ffn(self, out: Tensor, normed: Tensor) -> Tensor:
        """Add the adapter of the normed tokens to the FFN's output."""
        if self.ffn is None:
            return out
        update = self.drop_path(self.ffn(normed))
        return torch.add(out, update, alpha=self.scale)


class ViTWrapper(TransformerExpert):
    """What both wrappers share: adapters, freezing, the two halves.

    Subclasses set ``token_spec`` and implement ``blocks``, ``attend``,
    ``feed_forward``, ``final_norms``, ``embed``, ``pool`` and
    ``token_times``.  Stochastic depth that the wrapped config asks for acts
    on its own branches, before the adapters.

    Args:
        backbone: Config of the wrapped backbone.
        init_cfg: Weights of the wrapped backbone or of the whole wrapper;
            see :class:`TransformerExpert`.
    """

    axis = 'all'

    def __init__(self, backbone: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.backbone = MODELS.build(backbone)
        self.check_backbone()
        self.num_layers = len(self.blocks)

    def check_backbone(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` if it cannot be walked."""
        raise NotImplementedError

    def refuse(self, why: str) -> NoReturn:
        """Raise the ``TypeError`` about a backbone of another kind."""
        kind = type(self.backbone)
        raise TypeError(
            f'{type(self).__name__} cannot walk the layers of '
            f'{kind.__module__}.{kind.__name__} in halves: {why}'
        )

    def build_adapters(
        self, ratio: float | None, drop_path_rate: float = 0.0
    ) -> None:
        """Build the adapters of all layers."""
        self.adapters = nn.ModuleList(
            LayerAdapters(self.token_spec.embed_dims, ratio, rate)
            for rate in drop_path_rates(drop_path_rate, self.num_layers)
        )

    @property
    def blocks(self) -> nn.ModuleList:
        """Layers of the wrapped backbone."""
        raise NotImplementedError

    def attend(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        raise NotImplementedError

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Second half of a block, and the normed tokens; any (..., C)."""
        raise NotImplementedError

    def final_norms(self) -> Iterator[nn.Module]:
        """Norms after the last layer."""
        raise NotImplementedError

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part: embed, layers, adapters and norm."""
        parts = dict(
            layers=list(self.blocks.parameters()),
            adapters=list(self.adapters.parameters()),
            norm=[p for norm in self.final_norms() for p in norm.parameters()],
        )
        known = {id(p) for part in parts.values() for p in part}
        parts['embed'] = [p for p in self.parameters() if id(p) not in known]
        return parts

    def init_weights(self) -> None:
        """Start the wrapped backbone its own way, then load ``init_cfg``."""
        if self.is_init:
            return
        self.backbone.init_weights()
        super().init_weights()

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take names of the bare backbone as well as our own."""
        if any(key.startswith('backbone.') for key in state_dict):
            return
        for key in list(state_dict):
            state_dict[f'backbone.{key}'] = state_dict.pop(key)

    def forward_attn(
        self, tokens: Tensor, layer: int, attend: Attend | None = None
    ) -> Tensor:
        """First half: self-attention; (B, T, P + N, C) -> same.

        ``attend`` is not used: the wrapped block has its own attention.
        """
        _, steps, positions, _ = tokens.shape
        branch = self.attend(self.blocks[layer], fold(tokens, self.axis))
        branch = self.adapters[layer].attention(branch)
        return tokens + unfold(branch, self.axis, steps, positions)

    def forward_ffn(self, tokens: Tensor, layer: int) -> Tensor:
        """Second half: feed-forward; (B, T, P + N, C) -> same."""
        out, normed = self.feed_forward(self.blocks[layer], tokens)
        return self.adapters[layer].beside_ffn(out, normed)
