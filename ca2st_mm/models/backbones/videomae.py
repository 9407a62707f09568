# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The temporal expert: VideoMAE's joint space-time transformer."""

from collections.abc import Sequence

from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.position import sinusoid_table
from ..layers.tokens import TokenGrid, TokenSpec
from ..layers.transformer import LayerOptions
from .expert import VIT_SIZES, TransformerExpert, frame_spans, select_arch

ARCHS = {
    name: dict(size, patch_size=16, tubelet_size=2)
    for name, size in VIT_SIZES.items()
}


@MODELS.register_module()
class VideoMAEExpert(TransformerExpert):
    """VideoMAE ViT over tubelets; the temporal expert of CAST.

    Tokens are a row-major patch grid per tubelet, no class token; all attend
    to all.  The feature is the norm of the mean over all tokens.  Positions
    are a fixed sinusoid table, computed for any input size.

    Args:
        arch: 'base', 'large' or a dict that replaces entries of 'base'.
        num_frames: Frames of a clip; a multiple of the tubelet size.
        img_size: Height and width of a frame in pixels.
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm.
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        extra_layers: New layers after those of the checkpoint; trained.
        init_cfg: Pretrained weights; see :class:`TransformerExpert`.

    Raises:
        ValueError: If the tubelets do not tile the clip.

    Example:
        >>> import torch
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32, patch_size=16)
        >>> expert = VideoMAEExpert(size, num_frames=4, img_size=32)
        >>> expert.embed(torch.zeros(1, 3, 4, 32, 32)).shape
        torch.Size([1, 2, 4, 16])
    """

    weights_model = 'videomae'

    def __init__(
        self,
        arch: str | dict = 'base',
        num_frames: int = 16,
        img_size: int = 224,
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        drop_path_rate: float = 0.0,
        extra_layers: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = select_arch(arch, ARCHS)
        num_layers, patch = arch.pop('num_layers'), arch.pop('patch_size')
        tubelet = arch.pop('tubelet_size')
        if img_size % patch or num_frames % tubelet:
            raise ValueError(
                f'tubelets of {tubelet} x {patch} x {patch} do not tile '
                f'{num_frames} frames of {img_size} x {img_size} px'
            )
        dims, grid = arch['embed_dims'], img_size // patch
        self.input_shape = (3, num_frames, img_size, img_size)
        self.token_spec = TokenSpec(dims, num_frames // tubelet, grid**2)
        self.token_grid = TokenGrid(grid, grid, patch, patch)
        kernel = (tubelet, patch, patch)
        self.patch_embed = nn.Conv3d(3, dims, kernel, kernel)
        spec = self.token_spec
        table = sinusoid_table(spec.num_steps * spec.num_patches, dims)
        self.register_buffer(
            'pos_embed',
            table.reshape(1, spec.num_steps, spec.num_patches, dims),
            persistent=False,
        )
        options = LayerOptions(**arch, adapter_ratio=adapter_ratio)
        self.build_layers(
            options,
            num_layers,
            1e-6,
            ffn_drop_path_rate=drop_path_rate,
            extra_layers=extra_layers,
        )
        self.freeze(frozen_parts)

    def embed(self, inputs: Tensor) -> Tensor:
        """Clip (B, 3, num_frames, H, W) -> tokens (B, T, N, C).

        Raises:
            ValueError: If the clip has another number of frames or size.
        """
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise ValueError(
                f'VideoMAEExpert expects clips (B, *{self.input_shape}), got '
                f'{tuple(inputs.shape)}'
            )
        tubelets = self.patch_embed(inputs).flatten(3)  # (B, C, T, N)
        return tubelets.permute(0, 2, 3, 1) + self.pos_embed

    def pool(self, tokens: Tensor) -> Tensor:
        """Norm of the mean token: (B, T, N, C) -> (B, C)."""
        return self.norm(tokens.mean(dim=(1, 2)))

    def token_times(self, times: Tensor) -> Tensor:
        """Frame times (B, frames) -> spans of the tubelets (B, T, 1, 2)."""
        return frame_spans(times, self.token_spec.num_steps)
