# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The spatial expert: CLIP's image transformer, frame by frame."""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.position import resize_square_positions
from ..layers.tokens import TokenGrid, TokenSpec
from ..layers.transformer import LayerOptions
from .expert import (
    VIT_SIZES,
    TransformerExpert,
    frame_spans,
    select_arch,
    select_frames,
)

ARCHS = dict(
    base=dict(VIT_SIZES['base'], patch_size=16, activation='quick_gelu'),
    large=dict(VIT_SIZES['large'], patch_size=14, activation='quick_gelu'),
)


@MODELS.register_module()
class CLIPExpert(TransformerExpert):
    """CLIP ViT applied to every frame; the spatial expert of CAST.

    Tokens are one class token and a row-major patch grid per frame;
    self-attention stays inside a frame.  The feature is the norm of the class
    tokens averaged over frames.

    Args:
        arch: 'base' (B/16), 'large' (L/14) or a dict that replaces entries
            of 'base', e.g. activation 'gelu' for OpenCLIP's own weights.
        num_frames: Frames the expert reads, T.
        frame_stride: Reads the last of every ``frame_stride`` frames. The
            paper uses 2: one frame per tubelet of VideoMAE.
        img_size: Height and width of a frame in pixels.
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm.
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        drop_path_unit: 'sample', or 'token' as the authors' code trains it.
        norm_eps: Epsilon of the final norm (the authors' CAVA: 1e-6).
        extra_layers: New layers after those of the checkpoint; trained.
        init_cfg: Pretrained weights; see :class:`TransformerExpert`.

    Raises:
        ValueError: If the patches do not tile the frame.

    Example:
        >>> import torch
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32, patch_size=16)
        >>> expert = CLIPExpert(size, num_frames=2, img_size=32)
        >>> expert(torch.zeros(1, 3, 2, 32, 32)).shape
        torch.Size([1, 16])
    """

    weights_model = 'clip'
    pools_patches = False

    def __init__(
        self,
        arch: str | dict = 'base',
        num_frames: int = 1,
        frame_stride: int = 1,
        img_size: int = 224,
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        drop_path_rate: float = 0.0,
        drop_path_unit: str = 'sample',
        norm_eps: float = 1e-5,
        extra_layers: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = select_arch(arch, ARCHS)
        num_layers, patch = arch.pop('num_layers'), arch.pop('patch_size')
        if img_size % patch:
            raise ValueError(
                f'patches of {patch} px do not tile a frame of {img_size} px'
            )
        dims = arch['embed_dims']
        self.img_size, self.grid = img_size, img_size // patch
        self.num_frames, self.frame_stride = num_frames, frame_stride
        self.input_shape = (3, num_frames * frame_stride, img_size, img_size)
        self.token_spec = TokenSpec(dims, num_frames, self.grid**2, 1)
        self.token_grid = TokenGrid(self.grid, self.grid, patch, patch)
        self.patch_embed = nn.Conv2d(3, dims, patch, patch, bias=False)
        self.cls_token = nn.Parameter(dims**-0.5 * torch.randn(1, 1, dims))
        self.pos_embed = nn.Parameter(
            dims**-0.5 * torch.randn(1, 1 + self.grid**2, dims)
        )
        self.pre_norm = nn.LayerNorm(dims, eps=1e-5)
        options = LayerOptions(
            **arch,
            axis='space',
            norm_eps=1e-5,
            adapter_ratio=adapter_ratio,
            drop_path_unit=drop_path_unit,
        )
        self.build_layers(
            options,
            num_layers,
            norm_eps,
            ffn_drop_path_rate=drop_path_rate,
            extra_layers=extra_layers,
        )
        self.freeze(frozen_parts)

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Resize the position grid of a checkpoint, bicubic."""
        table = state_dict.get('pos_embed')
        if table is None or table.shape == self.pos_embed.shape:
            return
        state_dict['pos_embed'] = resize_square_positions(
            table, (self.grid, self.grid), 1, 'bicubic'
        )
        print_log(
            f'CLIPExpert: {table.shape[1] - 1} positions resized to '
            f'{self.grid}x{self.grid}',
            logger='current',
        )

    def embed(self, inputs: Tensor) -> Tensor:
        """Frames -> tokens.

        Args:
            inputs: (B, 3, num_frames * frame_stride, H, W), or images
                (B, 3, H, W), which are clips of one frame.

        Returns:
            (B, T, 1 + N, C).

        Raises:
            ValueError: If the clip has another number of frames or size.
        """
        frames = select_frames(self, inputs)
        if tuple(frames.shape[3:]) != (self.img_size, self.img_size):
            raise ValueError(
                f'CLIPExpert expects frames of img_size={self.img_size} px, '
                f'got {tuple(frames.shape[3:])}'
            )
        batch = frames.shape[0]
        frames = frames.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        patches = self.patch_embed(frames).flatten(2).transpose(1, 2)
        cls_token = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat((cls_token, patches), dim=1) + self.pos_embed
        return self.pre_norm(tokens).unflatten(0, (batch, self.num_frames))

    def pool(self, tokens: Tensor) -> Tensor:
        """Norm of the mean class token: (B, T, 1 + N, C) -> (B, C)."""
        return self.norm(tokens[:, :, 0].mean(dim=1))

    def token_times(self, times: Tensor) -> Tensor:
        """Frame times (B, frames) -> spans of the steps (B, T, 1, 2)."""
        return frame_spans(times, self.num_frames)
