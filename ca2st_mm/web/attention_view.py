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
_SELF = '_self'


class Choice(NamedTuple):
    """What to draw.

    Attributes:
        name: Of an attention; None for the link that looks least evenly.
        layer: From 0; None for the one that looks least evenly.
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
    names = sorted(found.maps, key=lambda name: name.endswith(_SELF))
    shown = _find(found, names, choice)
    figure = draw_attention([shown], found.stage, Query())
    png = io.BytesIO()
    figure.savefig(png, dpi=_DPI, format='png')
    data = base64.b64encode(png.getvalue()).decode()
    return dict(
        choices=[_listed(one, found.maps[one]) for one in names],
        name=shown.name,
        layer=shown.layer,
        picture=f'data:image/png;base64,{data}',
    )


def _find(found: Attention, names: list[str], choice: Choice) -> AttentionMap:
    if choice.name not in (None, *names):
        raise FigureInputError(
            f'there is no attention {choice.name!r}; it is one of '
            f'{", ".join(names)}'
        )
    links = [name for name in names if not name.endswith(_SELF)]
    maps = [
        one
        for name in ([choice.name] if choice.name else links or names)
        for one in found.maps[name]
    ]
    fitting = [one for one in maps if choice.layer in (None, one.layer)]
    if not fitting:
        raise FigureInputError(
            f'there is no layer {choice.layer}; the layers are '
            f'{", ".join(str(one.layer) for one in maps)}'
        )
    return max(fitting, key=lambda one: one.heat().max().item())


def _listed(name: str, maps: list[AttentionMap]) -> dict[str, Any]:
    first = maps[0]
    whom = 'itself' if first.query == first.context else first.context
    return dict(
        name=name,
        text=f'{first.query} looks at {whom}',
        layers=[one.layer for one in maps],
    )
