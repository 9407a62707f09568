# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention of a model on a file, ready to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ca2st_mm.models.layers.tokens import TokenGrid, TokenSpec
from ca2st_mm.structures import as_streams

from .attention_figure import (
    Query,
    Stage,
    draw_attention,
)
from .attention_maps import AttentionMap, read_maps
from .attention_scene import Scene, scene_of
from .style import FigureInputError


@dataclass(frozen=True)
class Point:
    """Where the asking tokens lie; what is None is averaged over.

    Attributes:
        second: Moment on the file's clock.  Experts that see pictures ask
            with the step nearest to it, those that hear with all
            frequencies of the column there.
        patch: Row and column of a patch, from the upper left, for experts
            that see pictures.
    """

    second: float | None = None
    patch: tuple[int, int] | None = None


@dataclass(frozen=True)
class Attention:
    """All attention of one view of a clip.

    Attributes:
        maps: By name (``spatial_from_audio``, ``spatial_self``), by layer.
        stage: What the model was given, and the grids of its experts.
    """

    maps: dict[str, list[AttentionMap]]
    stage: Stage

    def only(self, names: Sequence[str]) -> 'Attention':
        """The same with some names alone.

        Args:
            names: Which.

        Raises:
            FigureInputError: If there is no such name.
        """
        if unknown := [name for name in names if name not in self.maps]:
            raise FigureInputError(
                f'there is no {unknown[0]!r} in these layers; the model has '
                f'{", ".join(self.maps)} (the last layer leaves out what no '
                'feature can see)'
            )
        return replace(self, maps={name: self.maps[name] for name in names})


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
    """Run a model on a file and read who looks at whom.

    Args:
        recognizer: A ``ca2st_mm.apis.Recognizer`` of a multi-expert model.
        file: The clip.
        view: Which view of the test, from 0; None for the middle crop of
            the clip in the middle, or of the one nearest to ``near``.
        layers: Which layers, from 0; None for all.
        head: Which head; None for the mean over heads.
        span: First and last second wanted.
        near: A moment that matters, in seconds.
        missing_audio: As ``Recognizer.prepare`` takes it; experts that are
            left out have no attention.

    Raises:
        FigureInputError: If the model has no experts, or there is no such
            view, layer or head.
        FileNotFoundError: If there is no such file.
        MediaError: If it cannot be read.
    """
    model = recognizer.model
    if not hasattr(model.backbone, 'pairs'):
        raise FigureInputError(
            'the model is not of several experts with links; take a config '
            'whose backbone is MultiExpertBackbone'
        )
    sample = recognizer.prepare(file, *span, missing_audio)
    left_out = recognizer.left_out(sample)
    experts = [n for n in model.backbone.experts if n not in left_out]
    streams = as_streams(recognizer.batch([sample])['inputs'])
    count = next(iter(streams.values())).values.shape[1]
    if view is None:
        view = middle_view(sample['data_samples'].views, count, near)
    if not 0 <= view < count:
        raise FigureInputError(f'the views are 0 to {count - 1}, not {view}')
    one = {
        name: stream.map(lambda part: part[:, view : view + 1])
        for name, stream in streams.items()
    }
    try:
        found = read_maps(model, one, layers and list(layers), head, experts)
    except ValueError as error:
        raise FigureInputError(str(error)) from error
    grids = {
        name: getattr(expert, 'token_grid', None)
        for name, expert in model.backbone.experts.items()
    }
    maps: dict[str, list[AttentionMap]] = {}
    for one_map in found:
        maps.setdefault(one_map.name, []).append(one_map)
    return Attention(maps, Stage(scene_of(sample, view), grids))


def middle_view(views: Any, count: int, near: float | None) -> int:
    """The view in the middle, or nearest to a moment.

    Args:
        views: What was looked at, by clip.
        count: Views of the sample; those of one crop are neighbours.
        near: A moment, in seconds; None for the clip in the middle.
    """
    if views.seconds is None:
        return count // 2
    clips = len(views.seconds)
    clip = clips // 2
    if near is not None:
        first, last = views.seconds.min(axis=1), views.seconds.max(axis=1)
        clip = int(np.maximum(first - near, near - last).argmin())
    return count // clips // 2 * clips + clip


def query_of(
    point: Point, spec: TokenSpec, grid: TokenGrid | None, scene: Scene
) -> Query:
    """The tokens of an expert that lie at a point.

    Args:
        point: Where.
        spec: Tokens of the expert.
        grid: Where they lie in its input; None if unknown: all ask.
        scene: What the model was given.

    Raises:
        FigureInputError: If the point lies outside, or the times of the
            input are unknown.
    """
    if grid is None or point == Point():
        return Query()
    if grid.kind == 'picture':
        return _seeing(point, spec, grid, scene)
    if point.second is None:
        return Query()
    column = _column(point.second, grid, scene)
    positions = range(column, grid.rows * grid.columns, grid.columns)
    text = f'queries: all bands at {point.second:.2f} s'
    return Query(None, list(positions), text)


def _seeing(
    point: Point, spec: TokenSpec, grid: TokenGrid, scene: Scene
) -> Query:
    steps = positions = None
    said = []
    if point.patch is not None:
        row, column = point.patch
        if not (0 <= row < grid.rows and 0 <= column < grid.columns):
            raise FigureInputError(
                f'there is no patch {row},{column}; rows are 0 to '
                f'{grid.rows - 1} and columns 0 to {grid.columns - 1}'
            )
        positions = [row * grid.columns + column]
        said.append(f'patch {row},{column}')
    if point.second is not None:
        if scene.seconds is None:
            raise FigureInputError(
                'the times of the frames are unknown; open the video with '
                'OpenVideo in the config, or leave the moment out'
            )
        _check_seen(point.second, scene.seconds)
        count = spec.num_steps
        times = np.array([scene.time_of(step, count) for step in range(count)])
        steps = [int(np.abs(times - point.second).argmin())]
        said.append(f'{times[steps[0]]:.2f} s')
    return Query(steps, positions, f'queries: {" at ".join(said)}')


def _check_seen(second: float, times: np.ndarray) -> None:
    slack = np.diff(times).max() if len(times) > 1 else 0.5
    if not times[0] - slack <= second <= times[-1] + slack:
        raise FigureInputError(
            f'{second} s is outside of the frames that the model saw in this '
            f'view, {times[0]:.2f} to {times[-1]:.2f} s'
        )


def _column(second: float, grid: TokenGrid, scene: Scene) -> int:
    if scene.window is None:
        raise FigureInputError(
            'the window of the sound is unknown; add FrameTimes to the '
            'pipeline of the config, or leave the moment out'
        )
    start, end = scene.window
    if not start <= second <= end:
        raise FigureInputError(
            f'{second} s is outside of the sound that the model heard, '
            f'{start:.2f} to {end:.2f} s'
        )
    place = (second - start) / (end - start) * len(scene.mels)
    column = (place - grid.patch / 2) / grid.stride
    return int(np.clip(round(column), 0, grid.columns - 1))


def attention_views(
    recognizer: Any,
    file: str | Path,
    point: Point | None = None,
    **options: Any,
) -> dict[str, Figure]:
    """Figures of all links and of self-attention, by name.

    Args:
        recognizer: A ``ca2st_mm.apis.Recognizer`` of a multi-expert model.
        file: The clip.
        point: Where the queries lie; None for the mean over all.
        **options: Straight to :func:`read_attention`.

    Returns:
        ``spatial_from_audio``: where the spatial expert looks in the sound,
        and so on; ``spatial_self``: where it looks in its own input.

    Raises:
        FigureInputError: See :func:`read_attention` and :func:`query_of`.
    """
    point = point or Point()
    found = read_attention(recognizer, file, near=point.second, **options)
    return draw_views(found, point)


def draw_views(attention: Attention, point: Point) -> dict[str, Figure]:
    """Figures of attention that has been read.

    Args:
        attention: Of :func:`read_attention`.
        point: Where the queries lie.
    """
    stage = attention.stage
    figures = {}
    for name, maps in attention.maps.items():
        first = maps[0]
        grid = stage.grids[first.query]
        query = query_of(point, first.query_spec, grid, stage.scene)
        figures[name] = draw_attention(maps, stage, query)
    return figures
