# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ViTs of mmpretrain and MMAction2 as experts.

The wrapped backbone stays whole, with its own parameter names, under
``backbone``; a wrapper calls the parts of its blocks and owns the adapters.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.position import resize_square_positions
from ..layers.tokens import TokenGrid, TokenSpec
from .expert import frame_spans, select_frames
from .vit_wrapper import ViTWrapper


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
    """

    axis = 'space'

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
        extra = 0 if vit.cls_token is None else vit.num_extra_tokens
        self.token_spec = TokenSpec(
            vit.embed_dims, num_frames, rows * columns, extra
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

    def attend(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        return block.attn(block.ln1(tokens))

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Second half of a block, and the normed tokens; any (..., C)."""
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
                self.token_spec.num_extra_tokens,
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
        patches = tokens[:, :, self.token_spec.num_extra_tokens :]
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
        positions = vit.grid_size[0] * vit.grid_size[1]
        steps = vit.pos_embed.shape[1] // positions
        self.tubelet_size = vit.patch_embed.projection.stride[0]
        self.num_frames = steps * self.tubelet_size
        self.token_spec = TokenSpec(vit.embed_dims, steps, positions)
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

    def attend(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attention branch of a block, residual not added; (B, L, C)."""
        branch = block.attn(block.norm1(tokens))
        return block.drop_path(getattr(block, 'gamma_1', 1) * branch)

    def feed_forward(
        self, block: nn.Module, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Second half of a block, and the normed tokens; any (..., C)."""
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
        return tokens.unflatten(1, (spec.num_steps, spec.num_positions))

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
