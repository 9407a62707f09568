# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Links from their configs: one for each layer, and what they share."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import ModuleDict, ModuleList
from torch import nn

from ca2st_mm.registry import MODELS

from ..layers.bottleneck import Bottleneck
from ..layers.drop_path import drop_path_rates
from ..layers.tokens import TokenSpec

Specs = Mapping[str, TokenSpec]
Pairs = list[tuple[str, str, str]]


def build_links(
    cfgs: Sequence[dict],
    specs: Specs,
    num_layers: int,
    share_bottlenecks: bool,
) -> tuple[ModuleList, list[Pairs]]:
    """Build the links of all layers.

    Args:
        cfgs: Config of each link; see :class:`MultiExpertBackbone`.
        specs: Tokens of each expert by name.
        num_layers: Layers of the experts.
        share_bottlenecks: Whether the links of a layer share one bottleneck
            per expert.

    Returns:
        For each layer the links by key, and in the order of ``cfgs``
        (key, expert a, expert b).

    Raises:
        ValueError: If a link does not fit the experts or another link.
    """
    layers = [ModuleDict() for _ in range(num_layers)]
    pairs: list[Pairs] = [[] for _ in layers]
    shared: dict[Any, Bottleneck] = {}
    for cfg in cfgs:
        cfg = dict(cfg)
        a, b = _link_ends(cfg, specs)
        start = cfg.pop('start_layer', 0)
        if not 0 <= start < num_layers:
            raise ValueError(
                f'start_layer {start} of link {a}-{b} is not one of the '
                f'layers 0 to {num_layers - 1}'
            )
        rates = drop_path_rates(cfg.pop('drop_path_rate', 0.0), num_layers)
        key = f'{a}_{b}'
        for layer in range(start, num_layers):
            if key in layers[layer]:
                raise ValueError(f'two links join {a} and {b}; keep one')
            owned = shared if share_bottlenecks else {}
            link_cfg = dict(cfg, drop_path_rate=rates[layer])
            layers[layer][key] = _build_link(
                link_cfg, (a, b), specs, layer, owned
            )
            pairs[layer].append((key, a, b))
    return ModuleList(layers), pairs


def _link_ends(cfg: dict, specs: Specs) -> tuple[str, str]:
    ends = tuple(cfg.get('axes', ()))
    if len(ends) != 2 or not set(ends) <= set(specs):
        raise ValueError(
            'axes of a link names two of the experts '
            f'{sorted(specs)}, got {list(ends)}'
        )
    return ends


def _build_link(
    cfg: dict,
    ends: tuple[str, str],
    all_specs: Specs,
    layer: int,
    bottlenecks: dict[Any, Bottleneck],
) -> nn.Module:
    specs = tuple(all_specs[name] for name in ends)
    ratio = cfg.pop('ratio', 0.5)
    width = int(specs[0].embed_dims * ratio)
    if width < 1:
        raise ValueError(
            f'ratio {ratio} leaves nothing of the {specs[0].embed_dims} '
            f'channels of {ends[0]}'
        )
    for name, spec in zip(ends, specs, strict=True):
        known = bottlenecks.setdefault(
            (layer, name), Bottleneck(spec.embed_dims, width)
        )
        if known.bottleneck_dims != width:
            raise ValueError(
                f'links that share the bottleneck of {name} need one '
                f'width, got {known.bottleneck_dims} and {width}'
            )
    axes, units = cfg.pop('axes'), cfg.pop('drop_path_unit', {})
    if not isinstance(units, Mapping) or not set(units) <= set(ends):
        raise ValueError(
            'drop_path_unit of a link is a dict by expert, of '
            f'{list(ends)}, got {units!r}'
        )
    return MODELS.build(
        dict(
            cfg,
            specs=specs,
            axes=tuple(axes[name] for name in ends),
            bottlenecks=tuple(bottlenecks[layer, name] for name in ends),
            drop_path_units=tuple(units.get(name, 'sample') for name in ends),
        )
    )
