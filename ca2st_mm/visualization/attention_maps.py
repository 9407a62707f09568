# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of a multi-expert model on a clip, on the grids of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ca2st_mm.datasets.audio import Audio, read_audio
from ca2st_mm.datasets.containers import probe
from ca2st_mm.models.layers.tokens import TokenGrid, TokenSpec
from ca2st_mm.structures import as_streams

from .style import FigureInputError


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one attention in one layer, for one clip.

    Attributes:
        layer: From 1.
        query: Name of the expert that attends.
        key: Name of the expert attended to; the same in self-attention.
        axis: Along which: 'time', 'space' or 'all'.
        query_spec: Tokens of the one expert.
        key_spec: Tokens of the other.
        weights: Of the sequences along the axis, rows sum to one: (Nq, Tq,
            Tk), (Tq, Nq, Nk) or (1, Tq * Nq, Tk * Nk).  In self-attention the
            prefix tokens come before the N patches of every step.

    >>> spec = TokenSpec(embed_dims=8, num_steps=2, num_patches=3)
    >>> uniform = torch.full((2, 3, 3), 1 / 3)
    >>> AttentionMap(1, 'a', 'a', 'space', spec, spec, uniform).relative()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    layer: int
    query: str
    key: str
    axis: str
    query_spec: TokenSpec
    key_spec: TokenSpec
    weights: Tensor

    @property
    def name(self) -> str:
        """``spatial_from_audio``, or ``spatial_self``."""
        own = self.query == self.key
        return f'{self.query}_{"self" if own else f"from_{self.key}"}'

    @property
    def title(self) -> str:
        """Which expert attends to which, in words."""
        key = 'itself' if self.query == self.key else self.key
        return f'{self.query} attends to {key}'

    @property
    def prefix(self) -> int:
        """Prefix tokens that take part; links leave them out."""
        own = self.query == self.key
        return self.query_spec.num_prefix_tokens if own else 0

    def relative(
        self,
        steps: Sequence[int] | None = None,
        patches: Sequence[int] | None = None,
    ) -> Tensor:
        """What the queries attend to, in multiples of uniform attention.

        A query can attend to M tokens; 1 is a weight of 1 / M.  The mean is
        taken over the queries; with neither steps nor patches, in
        self-attention of an expert with prefix tokens (a class token), over
        those, as they make its feature.

        Args:
            steps: Time steps of the queries; None for all.
            patches: Patches of the queries inside a step; None for all.

        Returns:
            (Tk, Nk), without prefix tokens; 0 where these queries cannot
            attend.
        """
        spec, prefix = self.query_spec, self.prefix
        if steps is None and patches is None and prefix:
            places = list(range(prefix))
        elif patches is None:
            places = list(range(prefix, prefix + spec.num_patches))
        else:
            places = [prefix + patch for patch in patches]
        steps = list(range(spec.num_steps) if steps is None else steps)
        shape = self.key_spec.num_steps, prefix + self.key_spec.num_patches
        uniform = self.weights * self.weights.shape[-1]
        relative = torch.zeros(shape)
        if self.axis == 'time':  # every patch keeps its own
            relative[:, places] = uniform[places][:, steps].mean(1).T
        elif self.axis == 'space':  # every step keeps its own
            relative[steps] = uniform[steps][:, places].mean(1)
        else:
            grid = uniform[0].unflatten(0, (spec.num_steps, -1))
            relative = grid[steps][:, places].mean((0, 1)).reshape(shape)
        return relative[:, prefix:]

    def over_time(self, columns: int | None = None) -> Tensor | None:
        """How far each time step attends to each other, over all patches.

        Args:
            columns: Columns of a key that has its time inside one step (a
                spectrogram); None for a key with time steps.

        Returns:
            (Tq, Tk or columns), rows sum to one; None where a step attends
            to itself alone.
        """
        steps = self.query_spec.num_steps
        if self.axis == 'space' or steps == 1:
            return None
        if self.axis == 'time':
            return self.weights[self.prefix :].mean(0)
        grid = self.weights[0].unflatten(0, (steps, -1))[:, self.prefix :]
        grid = grid.mean(1).unflatten(1, (self.key_spec.num_steps, -1))
        grid = grid[:, :, self.prefix :]  # (Tq, Tk, Nk)
        if columns is None:
            rows = grid.sum(2)
        else:
            rows = grid.unflatten(2, (-1, columns)).sum((1, 2))
        return rows / rows.sum(1, keepdim=True)


@dataclass(frozen=True)
class ClipView:
    """One view of a clip, as the model reads it.

    Attributes:
        frames: RGB uint8, (F, height, width, 3); None without video.
        seconds: When the frames are shown, (F,), on the file's clock.
        mels: Spectrogram, (frames, bands); None without audio.
        window: First and last second of the spectrogram, padding included;
            None if unknown.
        audio: The file's own audio in that window, or while the frames are
            shown; None if there is none.
    """

    frames: np.ndarray | None
    seconds: np.ndarray | None
    mels: np.ndarray | None
    window: tuple[float, float] | None
    audio: Audio | None

    def frame_of(self, step: int, num_steps: int) -> int:
        """The frame that is drawn for a time step: the last of it."""
        return (step + 1) * len(self.frames) // num_steps - 1

    def time_of(self, step: int, num_steps: int) -> float | None:
        """Second at which that frame is shown; None if unknown."""
        if self.seconds is None:
            return None
        return float(self.seconds[self.frame_of(step, num_steps)])


def clip_view(sample: Mapping[str, Any], view: int) -> ClipView:
    """Frames and audio of one view of a sample of ``Recognizer.prepare``."""
    info, streams = sample['data_samples'], as_streams(sample['inputs'])
    frames = seconds = mels = window = span = audio = None
    if 'imgs' in streams:
        frames = streams['imgs'].values[view].permute(1, 2, 3, 0).numpy()
        if (shown := info.views.seconds) is not None:
            # Views are crops of clips, the clips running fastest.
            seconds = shown[view % len(shown)]
            if len(seconds) > 1:
                span = float(seconds[0]), float(2 * seconds[-1] - seconds[-2])
    if 'audios' in streams:
        mels = streams['audios'].values[view, 0].numpy()
        if info.audio_windows is not None:
            span = window = tuple(info.audio_windows[view].tolist())
    if span and probe(info.source).audio:
        audio = read_audio(info.source, max(span[0], 0.0), span[1])
    return ClipView(frames, seconds, mels, window, audio)


@dataclass(frozen=True)
class Attention:
    """All attention of one view of a clip.

    Attributes:
        maps: By name (``spatial_from_audio``, ``spatial_self``), by layer.
        view: What the model was given.
        grids: Where the patches of each expert lie; None if unknown.
    """

    maps: dict[str, list[AttentionMap]]
    view: ClipView
    grids: dict[str, TokenGrid | None]


def read_attention(
    recognizer: Any,
    file: str | Path,
    view: int | None = None,
    layers: Sequence[int] | None = None,
    head: int | None = None,
    span: tuple[float | None, float | None] = (None, None),
    near: float | None = None,
    missing_audio: str | None = None,
) -> Attention:
    """Run a model on a file and keep its attention weights.

    Args:
        recognizer: A ``ca2st_mm.Recognizer`` of a multi-expert model.
        file: The clip.
        view: Which view of the test, from 1; None for the middle crop of
            the clip in the middle, or of the one nearest to ``near``.
        layers: Which layers, from 1; None for all.
        head: Which head, from 1; None for the mean over heads.
        span: First and last second of the clip.
        near: A moment that the view should show, in seconds.
        missing_audio: Of ``Recognizer.prepare``; experts that are left out
            have no attention.

    Returns:
        Self-attention of each expert and both directions of each link.
        Of WavLM and ViViT there is no self-attention; see
        :meth:`~.MultiExpertBackbone.forward`.

    Raises:
        FigureInputError: If the model has no experts, or there is no such
            view, layer or head.
        FileNotFoundError: If there is no such file.
        MediaError: If it cannot be read.
    """
    model = recognizer.model
    experts = getattr(model.backbone, 'experts', None)
    if experts is None:
        raise FigureInputError(
            'the model does not consist of experts with links; take a config '
            'whose backbone is MultiExpertBackbone'
        )
    depth = model.backbone.num_layers
    if wrong := [n for n in layers or () if not 1 <= n <= depth]:
        raise FigureInputError(f'the layers are 1 to {depth}, not {wrong[0]}')
    if head is not None and head < 1:
        raise FigureInputError(f'heads are counted from 1, not {head}')
    sample = recognizer.prepare(file, *span, missing_audio)
    left_out = recognizer.left_out(sample)
    streams = as_streams(recognizer.batch([sample])['inputs'])
    count = next(iter(streams.values())).values.shape[1]
    if view is None:
        index = middle_view(sample['data_samples'].views, count, near)
    elif 1 <= view <= count:
        index = view - 1
    else:
        raise FigureInputError(f'the views are 1 to {count}, not {view}')
    one = {
        name: stream.map(lambda part: part[:, index : index + 1])
        for name, stream in streams.items()
    }
    try:
        with torch.no_grad():
            output, _ = model.extract_feat(
                one,
                test_mode=True,
                return_attention=[n - 1 for n in layers or ()] or True,
                attention_head=None if head is None else head - 1,
                experts=[name for name in experts if name not in left_out],
            )
    except ValueError as error:
        raise FigureInputError(str(error)) from error
    maps: dict[str, list[AttentionMap]] = {}
    for (query, key, layer), found in output.attention.items():
        specs = experts[query].token_spec, experts[key].token_spec
        weights, axis = found.weights[0].cpu(), found.axis
        if axis == 'frames':  # (Tk, Tq * Nq, Nk), of which the mean is taken
            weights = weights.transpose(0, 1).flatten(1)[None] / len(weights)
            axis = 'all'
        one_map = AttentionMap(layer + 1, query, key, axis, *specs, weights)
        maps.setdefault(one_map.name, []).append(one_map)
    grids = {
        name: getattr(expert, 'token_grid', None)
        for name, expert in experts.items()
    }
    return Attention(maps, clip_view(sample, index), grids)


def middle_view(views: Any, count: int, near: float | None) -> int:
    """Index of the view in the middle, or nearest to a moment in seconds.

    Of ``count`` views, crops of one clip follow each other at the number of
    clips.
    """
    if views.seconds is None:
        return count // 2
    clips = len(views.seconds)
    clip = clips // 2
    if near is not None:
        first, last = views.seconds.min(axis=1), views.seconds.max(axis=1)
        clip = int(np.maximum(first - near, near - last).argmin())
    return count // clips // 2 * clips + clip
