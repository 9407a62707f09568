# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What an expert is, and the transformer that CLIP, VideoMAE and AST are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ca2st_mm.checkpoints.delta import expect_fingerprint
from ca2st_mm.checkpoints.loading import load_expert
from ca2st_mm.structures import Stream
from ca2st_mm.utils.errors import check_choice

from ..layers.tokens import TokenSpec
from ..layers.transformer import (
    AttentionFn,
    LayerOptions,
    drop_path_rates,
    expert_layer,
    fused_attention,
)


class Expert(Protocol):
    """A backbone that can stop between the two blocks of every layer.

    All tokens are (B, T, P + N, C) as ``token_spec`` says.
    """

    num_layers: int
    token_spec: TokenSpec
    # Optional, for export: shape of one input of `embed`, without the batch.
    input_shape: tuple[int, ...]
    # Optional, else True: False if `pool` uses the prefix tokens only; the
    # last `forward_ffn` and `pool` then get those alone.
    pools_patches: bool
    # Optional: axis along which self-attention runs, for an expert that takes
    # `attend`.  Without it `attend` is never given and no attention returned.
    axis: str

    def embed(self, inputs: Tensor) -> Tensor:
        """Raw inputs -> tokens that enter layer 0."""

    def forward_attn(
        self, tokens: Tensor, layer: int, attend: AttentionFn = fused_attention
    ) -> Tensor:
        """Attention block of a layer; same shape.

        ``attend`` is the attention function; given only to experts that have
        ``axis``.
        """

    def context(self, tokens: Tensor) -> Any:
        """Optional: rotary positions or biases, computed once for all layers.

        If it is there, ``forward_attn`` takes the result as ``context``.  It
        has nothing to do with the context (keys and values) of a link.
        """

    def forward_ffn(self, tokens: Tensor, layer: int) -> Tensor:
        """Feed-forward block of a layer; same shape."""

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens that left the last layer -> feature (B, C)."""

    def token_times(self, times: Tensor) -> Tensor:
        """Times of the input -> span of every token, (B, T, N or 1, 2).

        A span is (start, end) in seconds.  Called for streams with a time
        encoder only.
        """


VIT_SIZES = dict(
    base=dict(
        embed_dims=768,
        num_layers=12,
        num_heads=12,
        feedforward_channels=3072,
    ),
    large=dict(
        embed_dims=1024,
        num_layers=24,
        num_heads=16,
        feedforward_channels=4096,
    ),
)


def select_arch(
    arch: str | dict[str, Any], table: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Look an architecture up by name, or complete a custom one.

    A custom dict replaces entries of 'base'.

    Raises:
        ValueError: If the name or an entry is unknown.
    """
    if isinstance(arch, str):
        check_choice('arch, if no dict,', arch, table)
        return dict(table[arch])
    if unknown := set(arch) - set(table['base']):
        raise ValueError(
            f'a custom arch has the entries {sorted(table["base"])}, '
            f'got {sorted(unknown)}'
        )
    return {**table['base'], **arch}


def frame_spans(times: Tensor, num_steps: int) -> Tensor:
    """Time of the first and the last frame of each step.

    Args:
        times: Time of every frame, (B, num_frames), seconds.
        num_steps: Token steps T; must divide the frames.

    Returns:
        (B, T, 1, 2), seconds.

    Raises:
        ValueError: If the frames do not split into T steps.
    """
    if times.shape[-1] % num_steps:
        raise ValueError(
            f'{times.shape[-1]} frame times do not split into {num_steps} '
            'steps; give one time per frame of the clip'
        )
    steps = times.unflatten(-1, (num_steps, -1))
    return torch.stack((steps[..., 0], steps[..., -1]), dim=-1)[:, :, None]


def select_frames(expert: Any, inputs: Tensor) -> Tensor:
    """The frames that an expert which reads single frames asks for.

    Args:
        expert: Has ``num_frames`` T and ``frame_stride``; the last frame of
            every stride is read.
        inputs: (B, 3, T * frame_stride, H, W), or images (B, 3, H, W), which
            are clips of one frame.

    Returns:
        (B, 3, T, H, W).

    Raises:
        ValueError: If the clip has another number of frames.
    """
    if inputs.ndim == 4:
        inputs = inputs.unsqueeze(2)
    steps, stride = expert.num_frames, expert.frame_stride
    if inputs.ndim != 5 or inputs.shape[2] != steps * stride:
        raise ValueError(
            f'{type(expert).__name__} expects clips (B, 3, {steps * stride}, '
            f'H, W), num_frames={steps} x frame_stride={stride}, got '
            f'{tuple(inputs.shape)}'
        )
    return inputs[:, :, stride - 1 :: stride]


class TransformerExpert(BaseModule):
    """A pre-norm transformer that can stop between its blocks.

    Subclasses build their embedding, then call :meth:`build_layers` and
    implement ``embed``, ``pool`` and ``token_times``.  Alone it is an ordinary
    backbone: ``forward(inputs) -> (B, C)``.

    Args:
        init_cfg: ``dict(type='Pretrained', checkpoint=..., prefix=...)`` loads
            weights of this expert; adapters may be absent in the file.
            Published weights of ``weights_model`` are converted on the way.
    """

    # Which published weights fit, as ``checkpoints.Layout.model`` names it;
    # None takes the expert's own names only.
    weights_model: str | None = None
    pools_patches = True
    extra_layers = 0
    num_layers: int
    token_spec: TokenSpec
    input_shape: tuple[int, ...]
    frozen_parts: tuple[str, ...] = ()

    def build_layers(
        self,
        options: LayerOptions,
        num_layers: int,
        norm_eps: float,
        attn_drop_path_rate: float = 0.0,
        ffn_drop_path_rate: float = 0.0,
        extra_layers: int = 0,
    ) -> None:
        """Build the layers and the final norm.

        Extra layers follow those of the checkpoint.  They are new, and count
        as adapters: trained, and the identity at the start.
        """
        self.num_layers, self.axis = num_layers + extra_layers, options.axis
        self.layers = nn.ModuleList(
            expert_layer(options, attn_rate, ffn_rate)
            for attn_rate, ffn_rate in zip(
                drop_path_rates(attn_drop_path_rate, num_layers),
                drop_path_rates(ffn_drop_path_rate, num_layers),
                strict=True,
            )
        )
        self.extra_layers = extra_layers
        for _ in range(extra_layers):
            layer = expert_layer(replace(options, adapter_ratio=None))
            for last in (layer['attention'].attn.proj, layer['ffn'].fc2):
                nn.init.zeros_(last.weight)
            self.layers.append(layer)
        self.norm = nn.LayerNorm(options.embed_dims, eps=norm_eps)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part: embed, layers, adapters and norm."""
        parts = {k: [] for k in ('embed', 'layers', 'adapters', 'norm')}
        first_extra = len(self.layers) - self.extra_layers
        for name, parameter in self.named_parameters():
            part, *path = name.split('.')
            if part == 'layers' and (
                'adapter' in path or int(path[0]) >= first_extra
            ):
                part = 'adapters'
            parts[part if part in parts else 'embed'].append(parameter)
        return parts

    def freeze(self, frozen_parts: Sequence[str]) -> None:
        """Stop the gradient of whole parts; see :meth:`parts`.

        Raises:
            ValueError: If a part does not exist.
        """
        parts = self.parts()
        if unknown := set(frozen_parts) - set(parts):
            raise ValueError(
                f'frozen_parts may name {sorted(parts)}, got {sorted(unknown)}'
            )
        for name in frozen_parts:
            for parameter in parts[name]:
                parameter.requires_grad_(False)
        self.frozen_parts = tuple(frozen_parts)

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names, if any.

        Raises:
            FileNotFoundError: If the checkpoint is not there.
            ValueError: If the file is not a checkpoint of this expert.
        """
        if self.is_init:
            return
        if self.init_cfg is not None:
            load_expert(self, self.init_cfg)
        self._is_init = True

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Fit tensors of a checkpoint to this input size, in place."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        expect_fingerprint(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward_attn(
        self, tokens: Tensor, layer: int, attend: AttentionFn = fused_attention
    ) -> Tensor:
        """Attention block; (B, T, P + N, C) -> same."""
        return self.layers[layer]['attention'](tokens, attend)

    def forward_ffn(self, tokens: Tensor, layer: int) -> Tensor:
        """Feed-forward block; (B, T, P + N, C) -> same."""
        return self.layers[layer]['ffn'](tokens)

    def forward(self, inputs: Tensor | Stream) -> Tensor:
        """The expert alone: raw inputs -> feature (B, C)."""
        if isinstance(inputs, Stream):
            inputs = inputs.values
        tokens = self.embed(inputs)
        for layer in range(self.num_layers):
            tokens = self.forward_attn(tokens, layer)
            if layer == self.num_layers - 1 and not self.pools_patches:
                tokens = tokens[:, :, : self.token_spec.num_prefix_tokens]
            tokens = self.forward_ffn(tokens, layer)
        return self.pool(tokens)
