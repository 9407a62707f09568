# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The audio expert: the Audio Spectrogram Transformer."""

import warnings
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import check_choice

from ..layers.position import resize_grid
from ..layers.tokens import TokenGrid, TokenSpec
from ..layers.transformer import LayerOptions
from .expert import VIT_SIZES, TransformerExpert, select_arch

ARCHS = {
    name: dict(size, patch_size=16, patch_stride=10, pretrained_mels=128)
    for name, size in VIT_SIZES.items()
}


# Values of `time_bin_order` by their names in version 0.1.
CLOCKS = dict(binned='frequency_major', transposed='time_major')


def time_bins(
    num_rows: int, num_columns: int, num_bins: int, order: str
) -> Tensor:
    """Time bin of each patch of a spectrogram, (num_rows * num_columns,).

    Patches are frequency-major, f * num_columns + t.

    Args:
        num_rows: Patches along frequency.
        num_columns: Patches along time.
        num_bins: Equal bins of the window.
        order: 'frequency_major': a patch has the bin in which its column
            starts; or 'time_major', as in the authors' code, which lays the
            bins out for patches t * num_rows + f, so that they follow
            frequency more than time.
    """
    if order == 'time_major':
        run = num_columns // num_bins + 1
        columns = torch.arange(num_columns) // run
        return columns.repeat_interleave(num_rows)
    return (torch.arange(num_columns) * num_bins // num_columns).repeat(
        num_rows
    )


def fit_spectrogram_positions(
    table: Tensor,
    new: tuple[int, int],
    old: tuple[int, int],
    fit: str = 'crop',
) -> Tensor:
    """Fit AST's position grid (frequency, time) to another spectrogram.

    Args:
        table: (old[0] * old[1], C), frequency-major.
        new: Frequency and time steps wanted.
        old: Frequency and time steps of the table.
        fit: 'crop': a smaller side is cut from the middle, so that the
            spacing learned in pre-training is kept, a larger one stretched
            bilinearly.  'squeeze': where time is not shortened, frequency is
            first squeezed to two thirds and stretched back, which blurs the
            table, as in the authors' code.

    Returns:
        (new[0] * new[1], C).
    """
    if fit == 'squeeze' and new[1] >= old[1]:
        squeezed = (old[0] * 2 // 3, new[1])
        table = resize_grid(table, squeezed, old, 'bilinear')
        return resize_grid(table, new, squeezed, 'bilinear')
    grid = table.reshape(*old, -1)
    for dim in (0, 1):
        if new[dim] < old[dim]:
            start = old[dim] // 2 - new[dim] // 2
            grid = grid.narrow(dim, start, new[dim])
    kept = (grid.shape[0], grid.shape[1])
    return resize_grid(grid.flatten(0, 1), new, kept, 'bilinear')


@MODELS.register_module()
class ASTExpert(TransformerExpert):
    """AST over overlapping patches of a log-mel spectrogram.

    Tokens are a class and a distillation token, then the patches
    frequency-major (index f * columns + t), all in one step (T = 1).  The
    feature is the mean of the two special tokens after the final norm.

    Args:
        arch: 'base', 'large' or a dict that replaces entries of 'base'.
        spec_size: Spectrogram frames and mel bins, e.g. (1024, 128).
        num_time_bins: Bins the window is cut into for time stamps; None
            gives every column its own. The paper: as many as tubelets.
        time_bin_order: 'frequency_major', as the patches are, or
            'time_major' as released checkpoints of CAVA and CA2ST need.
        position_fit: How a pretrained position grid is fitted, see
            :func:`fit_spectrogram_positions`.
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm.
        drop_path_rate: Stochastic depth of attention and FFN adapter.
        extra_layers: New layers after those of the checkpoint; trained.
        init_cfg: Pretrained weights; see :class:`TransformerExpert`.
        clock: Former name of ``time_bin_order``, 'binned' or 'transposed'.

    Raises:
        ValueError: If an option is unknown or the spectrogram is smaller
            than a patch.

    Example:
        >>> import torch
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32, patch_size=16)
        >>> expert = ASTExpert(size, spec_size=(64, 36))
        >>> expert(torch.zeros(1, 1, 64, 36)).shape
        torch.Size([1, 16])
    """

    weights_model = 'ast'
    pools_patches = False

    def __init__(
        self,
        arch: str | dict = 'base',
        spec_size: tuple[int, int] = (1024, 128),
        num_time_bins: int | None = None,
        time_bin_order: str = 'frequency_major',
        position_fit: str = 'crop',
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers', 'norm'),
        drop_path_rate: float = 0.0,
        extra_layers: int = 0,
        init_cfg: dict | None = None,
        clock: str | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if clock is not None:
            check_choice('clock', clock, CLOCKS)
            time_bin_order = CLOCKS[clock]
            warnings.warn(
                f'ASTExpert(clock={clock!r}) is accepted until version 0.2; '
                f'write time_bin_order={time_bin_order!r}',
                DeprecationWarning,
                stacklevel=2,
            )
        arch = select_arch(arch, ARCHS)
        num_layers, patch = arch.pop('num_layers'), arch.pop('patch_size')
        stride, mels = arch.pop('patch_stride'), arch.pop('pretrained_mels')
        if min(spec_size) < patch:
            raise ValueError(
                f'a spectrogram of {spec_size} (frames, mels) is smaller '
                f'than a patch of {patch}'
            )
        orders = ('frequency_major', 'time_major')
        check_choice('time_bin_order', time_bin_order, orders)
        check_choice('position_fit', position_fit, ('crop', 'squeeze'))
        dims = arch['embed_dims']
        self.spec_size = tuple(spec_size)
        self.input_shape = (1, *self.spec_size)
        rows, columns = (
            (size - patch) // stride + 1 for size in reversed(self.spec_size)
        )
        self.grid = (rows, columns)
        self.pretrained_rows = (mels - patch) // stride + 1
        self.position_fit = position_fit
        self.token_spec = TokenSpec(dims, 1, rows * columns, 2)
        self.token_grid = TokenGrid(
            rows, columns, patch, stride, 'spectrogram'
        )
        self.num_time_bins = num_time_bins or columns
        self.register_buffer(
            'token_bins',
            time_bins(rows, columns, self.num_time_bins, time_bin_order),
            persistent=False,
        )
        self.patch_embed = nn.Conv2d(1, dims, patch, stride)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, 2 + rows * columns, dims))
        for table in (self.cls_token, self.dist_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        options = LayerOptions(**arch, adapter_ratio=adapter_ratio)
        self.build_layers(
            options,
            num_layers,
            1e-6,
            attn_drop_path_rate=drop_path_rate,
            ffn_drop_path_rate=drop_path_rate,
            extra_layers=extra_layers,
        )
        self.freeze(frozen_parts)

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Fit the position grid of a checkpoint to this spectrogram.

        Raises:
            ValueError: If the grid does not have the rows that
                ``pretrained_mels`` promises.
        """
        table = state_dict.get('pos_embed')
        is_ours = table is not None and table.shape == self.pos_embed.shape
        if table is None or (is_ours and self.position_fit == 'crop'):
            return
        old = (
            self.pretrained_rows,
            (table.shape[1] - 2) // self.pretrained_rows,
        )
        if table.shape[1] - 2 != old[0] * old[1] or not old[1]:
            raise ValueError(
                f'the position table of a checkpoint, {tuple(table.shape)}, '
                f'is no grid of {old[0]} rows after 2 tokens; set '
                'pretrained_mels in arch to the mel bins it was trained with'
            )
        grid = fit_spectrogram_positions(
            table[0, 2:], self.grid, old, self.position_fit
        )
        state_dict['pos_embed'] = torch.cat((table[:, :2], grid[None]), 1)
        if old != self.grid:
            print_log(
                f'ASTExpert: position grid {old} (frequency, time) fitted to '
                f'{self.grid} by {self.position_fit!r}',
                logger='current',
            )

    def embed(self, inputs: Tensor) -> Tensor:
        """Spectrogram (B, 1, frames, mels) -> tokens (B, 1, 2 + N, C).

        Raises:
            ValueError: If the spectrogram has another size.
        """
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise ValueError(
                f'ASTExpert expects spectrograms (B, 1, frames, mels) with '
                f'spec_size={self.spec_size}, got {tuple(inputs.shape)}'
            )
        patches = self.patch_embed(inputs.transpose(2, 3))  # (B, C, F, cols)
        patches = patches.flatten(2).transpose(1, 2)
        special = torch.cat((self.cls_token, self.dist_token), dim=1)
        special = special.expand(patches.shape[0], -1, -1)
        tokens = torch.cat((special, patches), dim=1) + self.pos_embed
        return tokens.unsqueeze(1)

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean of the two special tokens after the norm: -> (B, C)."""
        return self.norm(tokens[:, 0, :2]).mean(dim=1)

    def token_times(self, times: Tensor) -> Tensor:
        """Window (B, 2), start and end -> spans of patches (B, 1, N, 2)."""
        start, end = times[:, :1], times[:, 1:]  # (B, 1), seconds
        length = (end - start) / self.num_time_bins
        left = start + self.token_bins.to(times) * length  # (B, N)
        return torch.stack((left, left + length), dim=-1)[:, None]
