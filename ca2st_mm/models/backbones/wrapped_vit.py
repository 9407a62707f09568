# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ViTs of mmpretrain and MMAction2 as experts.

The wrapped backbone stays whole, with its own parameter names, under
``backbone``; a wrapper calls the parts of its blocks and owns the adapters.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.position import resize_square_positions
from ..layers.tokens import TokenGrid, TokenSpec
from ..layers.transformer import (
    Adapter,
    DropPath,
    ResidualAdapter,
    drop_path_rates,
    from_sequences,
    to_sequences,
)
from .expert import TransformerExpert, frame_spans, select_frames


class ViTWrapper(TransformerExpert):
    """What both wrappers share: adapters, freezing, the two blocks.

    Subclasses set ``token_spec`` and implement ``blocks``,
    ``attention_branch``, ``feed_forward``, ``final_norms``, ``embed``,
    ``pool`` and ``token_times``.  Stochastic depth that the wrapped config
    asks for acts on its own branches, before the adapters.

    Args:
        backbone: Config of the wrapped backbone.
        init_cfg: Weights of the wrapped backbone or of the whole wrapper;
            see :class:`TransformerExpert`.
    """

    # Not `axis`: the wrapped blocks take no `attend`.
    sequence_axis = 'all'

    def __init__(self, backbone: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.backbone = MODELS.build(backbone)
        self.check_backbone()
        self.num_layers = len(self.blocks)

    def check_backbone(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` if it has no such blocks."""
        raise NotImplementedError

    def refuse(self, why: str) -> NoReturn:
        """Raise the ``TypeError`` about a backbone of another kind."""
        kind = type(self.backbone)
        raise TypeError(
            f'{type(self).__name__} cannot stop inside the layers of '
            f'{kind.__module__}.{kind.__name__}: {why}'
        )

    def build_adapters(
        self, ratio: float | None, drop_path_rate: float = 0.0
    ) -> None:
        """Build the adapters of all layers."""
        dims = self.token_spec.embed_dims
        self.adapters = nn.ModuleList()
        for rate in drop_path_rates(drop_path_rate, self.num_layers):
            layer = nn.ModuleDict()
            if ratio is not None:
                layer['attention'] = ResidualAdapter(dims, ratio=ratio)
                layer['ffn'] = Adapter(dims, ratio=ratio)
                layer['drop_path'] = DropPath(rate)
            self.adapters.append(layer)

    @property
    def blocks(self) -> nn.ModuleList:
        """Layers of the wrapped backbone."""
        raise NotImplementedError

    def attention_branch(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        raise NotImplementedError

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feed-forward block and its normed input; any (..., C)."""
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

    def forward_attn(self, tokens: Tensor, layer: int) -> Tensor:
        """Attention block; (B, T, P + N, C) -> same."""
        branch = self.attention_branch(
            self.blocks[layer], to_sequences(tokens, self.sequence_axis)
        )
        if 'attention' in self.adapters[layer]:
            branch = self.adapters[layer]['attention'](branch)
        return tokens + from_sequences(branch, self.sequence_axis, tokens)

    def forward_ffn(self, tokens: Tensor, layer: int) -> Tensor:
        """Feed-forward block; (B, T, P + N, C) -> same."""
        out, normed = self.feed_forward(self.blocks[layer], tokens)
        parts = self.adapters[layer]
        if 'ffn' not in parts:
            return out
        return out + 0.5 * parts['drop_path'](parts['ffn'](normed))


@MODELS.register_module()
class MMPretrainViTExpert(ViTWrapper):
    """An mmpretrain ``VisionTransformer``, frame by frame.

    Self-attention stays inside a frame; the feature is the mean over frames
    of what the bare backbone returns for each.

    Args:
        backbone: Config such as
            ``dict(type='mmpretrain.VisionTransformer', arch='base')``, with
            ``out_type`` 'cls_token' or 'avg_featmap'.
        num_frames: Frames the expert reads, T.
        frame_stride: Reads the last of every ``frame_stride`` frames.
        adapter_ratio: Hidden part of the adapters; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm.
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        init_cfg: Weights of the wrapped backbone or of the whole wrapper;
            see :class:`TransformerExpert`.

    Raises:
        TypeError: If the backbone is not such a ViT (also DeiT, BEiT, ...
            whose layers need more than their tokens).
        ValueError: If the backbone returns maps or several layers.

    Example:
        >>> expert = MMPretrainViTExpert(dict(
        ...     type='mmpretrain.VisionTransformer', arch='deit-tiny'))
        >>> expert.input_shape
        (3, 1, 224, 224)
    """

    sequence_axis = 'space'

    def __init__(
        self,
        backbone: dict,
        num_frames: int = 1,
        frame_stride: int = 1,
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone, init_cfg)
        self.num_frames, self.frame_stride = num_frames, frame_stride
        vit = self.backbone
        rows, columns = vit.patch_resolution
        self.input_shape = (3, num_frames * frame_stride, *vit.img_size)
        prefix = 0 if vit.cls_token is None else vit.num_extra_tokens
        self.token_spec = TokenSpec(
            vit.embed_dims, num_frames, rows * columns, prefix
        )
        patch = vit.patch_embed.projection.stride[-1]
        self.token_grid = TokenGrid(rows, columns, patch, patch)
        self.build_adapters(adapter_ratio, drop_path_rate)
        self.freeze(frozen_parts)

    def check_backbone(self) -> None:
        """Raise unless this is a plain ViT that returns one feature.

        Raises:
            TypeError: If its forward or its layers are not the plain ones.
            ValueError: If it returns maps or several layers.
        """
        from mmpretrain.models.backbones import vision_transformer as module

        vit = self.backbone
        if type(vit).forward is not module.VisionTransformer.forward:
            self.refuse(
                'it is not a plain mmpretrain.VisionTransformer (another '
                'forward, e.g. relative position bias or masking)'
            )
        plain = module.TransformerEncoderLayer.forward
        for block in vit.layers:
            if type(block).forward is not plain:
                self.refuse(f'{type(block).__name__} has another forward')
        if vit.out_type not in ('cls_token', 'avg_featmap'):
            raise ValueError(
                "MMPretrainViTExpert needs out_type 'cls_token' or "
                f"'avg_featmap', got {vit.out_type!r}"
            )
        last = len(vit.layers) - 1
        if list(vit.out_indices) != [last]:
            raise ValueError(
                'MMPretrainViTExpert returns the last layer only; leave '
                f'out_indices out, got {list(vit.out_indices)}'
            )

    @property
    def blocks(self) -> nn.ModuleList:
        """Layers of the wrapped backbone."""
        return self.backbone.layers

    def attention_branch(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        return block.attn(block.ln1(tokens))

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feed-forward block and its normed input; any (..., C)."""
        normed = block.ln2(tokens)
        return block.ffn(normed, identity=tokens), normed

    def final_norms(self) -> Iterator[nn.Module]:
        """Norms after the last layer."""
        if self.backbone.final_norm:
            yield self.backbone.ln1
        if self.backbone.out_type == 'avg_featmap':
            yield self.backbone.ln2

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take bare names, and resize the position grid."""
        super().fit_state_dict(state_dict)
        key, vit = 'backbone.pos_embed', self.backbone
        if key in state_dict and state_dict[key].shape != vit.pos_embed.shape:
            state_dict[key] = resize_square_positions(
                state_dict[key],
                vit.patch_resolution,
                self.token_spec.num_prefix_tokens,
                vit.interpolate_mode,
            )

    def embed(self, inputs: Tensor) -> Tensor:
        """Frames -> tokens.

        Args:
            inputs: (B, 3, num_frames * frame_stride, H, W), or images
                (B, 3, H, W), which are clips of one frame.

        Returns:
            (B, T, P + N, C).

        Raises:
            ValueError: If the clip has another number of frames or size.
        """
        frames = select_frames(self, inputs)
        vit, batch = self.backbone, frames.shape[0]
        tokens, grid = vit.patch_embed(frames.transpose(1, 2).flatten(0, 1))
        if tuple(grid) != tuple(vit.patch_resolution):
            raise ValueError(
                f'MMPretrainViTExpert was built for {vit.patch_resolution} '
                f'patches of a frame, got {tuple(grid)} from '
                f'{tuple(inputs.shape[-2:])} px'
            )
        if vit.cls_token is not None:
            special = vit.cls_token.expand(tokens.shape[0], -1, -1)
            tokens = torch.cat((special, tokens), dim=1)
        tokens = vit.drop_after_pos(tokens + vit.pos_embed)
        return vit.pre_norm(tokens).unflatten(0, (batch, self.num_frames))

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over frames of the backbone's feature: -> (B, C)."""
        vit = self.backbone
        if vit.final_norm:
            tokens = vit.ln1(tokens)
        if vit.out_type == 'cls_token':
            return tokens[:, :, 0].mean(dim=1)
        patches = tokens[:, :, self.token_spec.num_prefix_tokens :]
        return vit.ln2(patches.mean(dim=2)).mean(dim=1)

    def token_times(self, times: Tensor) -> Tensor:
        """Frame times (B, frames) -> spans of the steps (B, T, 1, 2)."""
        return frame_spans(times, self.num_frames)


@MODELS.register_module()
class MMActionViTExpert(ViTWrapper):
    """MMAction2's VideoMAE ``VisionTransformer``; all tokens attend to all.

    Frames, tubelets and image size are those of the wrapped config.

    Args:
        backbone: Config such as ``dict(type='VisionTransformer', depth=12)``.
        adapter_ratio: Hidden part of the adapters; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm.
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        init_cfg: Weights of the wrapped backbone or of the whole wrapper;
            see :class:`TransformerExpert`.

    Raises:
        TypeError: If the backbone is not MMAction2's VideoMAE ViT.
        ValueError: If the backbone returns a map.

    Example:
        >>> expert = MMActionViTExpert(dict(
        ...     type='VisionTransformer', embed_dims=192, depth=2,
        ...     num_heads=3))
        >>> expert.input_shape
        (3, 16, 224, 224)
    """

    def __init__(
        self,
        backbone: dict,
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone, init_cfg)
        vit = self.backbone
        patches = vit.grid_size[0] * vit.grid_size[1]
        steps = vit.pos_embed.shape[1] // patches
        self.tubelet_size = vit.patch_embed.projection.stride[0]
        self.num_frames = steps * self.tubelet_size
        self.token_spec = TokenSpec(vit.embed_dims, steps, patches)
        size = (side * vit.patch_size for side in vit.grid_size)
        self.input_shape = (3, self.num_frames, *size)
        patch = vit.patch_size
        self.token_grid = TokenGrid(*vit.grid_size, patch, patch)
        self.build_adapters(adapter_ratio, drop_path_rate)
        self.freeze(frozen_parts)

    def check_backbone(self) -> None:
        """Raise unless this is VideoMAE's ViT that returns one feature.

        Raises:
            TypeError: If its forward or its blocks are not the plain ones.
            ValueError: If it returns a map.
        """
        from mmaction.models.backbones import vit_mae as module

        vit: Any = self.backbone
        if type(vit).forward is not module.VisionTransformer.forward:
            self.refuse("it is not MMAction2's VideoMAE VisionTransformer")
        for block in vit.blocks:
            if type(block).forward is not module.Block.forward:
                self.refuse(f'{type(block).__name__} has another forward')
        if vit.return_feat_map:
            raise ValueError(
                'MMActionViTExpert needs return_feat_map=False, got True'
            )

    @property
    def blocks(self) -> nn.ModuleList:
        """Layers of the wrapped backbone."""
        return self.backbone.blocks

    def attention_branch(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        branch = block.attn(block.norm1(tokens))
        return block.drop_path(getattr(block, 'gamma_1', 1) * branch)

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feed-forward block and its normed input; any (..., C)."""
        normed = block.norm2(tokens)
        branch = getattr(block, 'gamma_2', 1) * block.mlp(normed)
        return tokens + block.drop_path(branch), normed

    def final_norms(self) -> Iterator[nn.Module]:
        """Norms after the last layer."""
        yield self.backbone.norm
        if self.backbone.fc_norm is not None:
            yield self.backbone.fc_norm

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take bare names, and our sinusoid table where it is a constant."""
        super().fit_state_dict(state_dict)
        if 'pos_embed' in dict(self.backbone.named_buffers()):
            state_dict['backbone.pos_embed'] = self.backbone.pos_embed

    def embed(self, inputs: Tensor) -> Tensor:
        """Clip (B, 3, num_frames, H, W) -> tokens (B, T, N, C).

        Raises:
            ValueError: If the clip has another number of frames or size.
        """
        vit, spec = self.backbone, self.token_spec
        grid = tuple(size // vit.patch_size for size in inputs.shape[-2:])
        frames = inputs.shape[2] if inputs.ndim == 5 else None
        if frames != self.num_frames or grid != vit.grid_size:
            raise ValueError(
                f'MMActionViTExpert expects clips (B, 3, {self.num_frames}, '
                f'H, W) of {vit.grid_size} patches of {vit.patch_size} px, '
                f'got {tuple(inputs.shape)}'
            )
        tokens = vit.pos_drop(vit.patch_embed(inputs)[0] + vit.pos_embed)
        return tokens.unflatten(1, (spec.num_steps, spec.num_patches))

    def pool(self, tokens: Tensor) -> Tensor:
        """The backbone's feature: norm of the mean token, -> (B, C)."""
        vit = self.backbone
        tokens = vit.norm(tokens.flatten(1, 2))
        if vit.fc_norm is None:
            return tokens[:, 0]
        return vit.fc_norm(tokens.mean(dim=1))

    def token_times(self, times: Tensor) -> Tensor:
        """Frame times (B, frames) -> spans of the tubelets (B, T, 1, 2)."""
        return frame_spans(times, self.token_spec.num_steps)
