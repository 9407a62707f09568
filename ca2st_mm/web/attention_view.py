# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One picture of attention for the page, and what else can be chosen."""

import base64
import io
from typing import Any, NamedTuple

from ca2st_mm.visualization.attention import Attention
from ca2st_mm.visualization.attention_figure import Query, draw_attention
from ca2st_mm.visualization.attention_maps import AttentionMap
from ca2st_mm.visualization.style import FigureInputError

_DPI = 110


class Choice(NamedTuple):
    """What to draw.

    Attributes:
        name: Of an attention; None for the first link.
        layer: From 0; None for the last that there is.
    """

    name: str | None
    layer: int | None


def attention_view(found: Attention, choice: Choice) -> dict[str, Any]:
    """Draw what was chosen.

    Args:
        found: All attention of a clip.
        choice: What to draw.

    Returns:
        ``choices`` (``name``, ``text`` and ``layers`` of each), the ``name``
        and ``layer`` that is shown, and ``picture``, a PNG as a ``data:``
        address.

    Raises:
        FigureInputError: If there is no such attention.
    """
    # Links first: they are what is particular to these models.
    names = sorted(found.maps, key=lambda name: name.endswith('_self'))
    name = choice.name if choice.name is not None else names[0]
    if name not in found.maps:
        raise FigureInputError(
            f'there is no attention {name!r}; it is one of {", ".join(names)}'
        )
    by_layer = {one.layer: one for one in found.maps[name]}
    layer = choice.layer if choice.layer is not None else max(by_layer)
    if layer not in by_layer:
        raise FigureInputError(
            f'{name} has no layer {layer}; it has '
            f'{", ".join(map(str, by_layer))}'
        )
    figure = draw_attention([by_layer[layer]], found.stage, Query())
    png = io.BytesIO()
    figure.savefig(png, dpi=_DPI, format='png')
    data = base64.b64encode(png.getvalue()).decode()
    return dict(
        choices=[_listed(one, found.maps[one]) for one in names],
        name=name,
        layer=layer,
        picture=f'data:image/png;base64,{data}',
    )


def _listed(name: str, maps: list[AttentionMap]) -> dict[str, Any]:
    first = maps[0]
    whom = 'itself' if first.query == first.context else first.context
    return dict(
        name=name,
        text=f'{first.query} looks at {whom}',
        layers=[one.layer for one in maps],
    )
