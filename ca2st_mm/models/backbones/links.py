# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a link is, and how the links of a backbone are built from configs.

The classes of links are in ``ca2st_mm.models.necks``.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from mmengine.model import ModuleDict, ModuleList
from torch import Tensor, nn

from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import UsageError

from ..layers.tokens import TokenSpec
from ..layers.transformer import BOTH_FUSED, AttentionFn, drop_path_rates


class Link(Protocol):
    """What joins two experts, a and b, in one layer.

    Built with the arguments of its config, of these ``axes`` for every link,
    and with ``specs`` (the ``TokenSpec`` of a and of b), ``drop_path_rate``,
    ``drop_path_units`` (of a and of b) and, if bottlenecks are shared,
    ``bottlenecks``: for a and b what the layer's earlier links have as
    ``bottleneck_a`` or ``bottleneck_b``, or None.
    """

    # Optional, as given: how a attends to b, and b to a; None for no update.
    # Without it a link is called with the tokens and time codes alone, and
    # always gets all patches.
    axes: tuple[str | None, str | None]
    # Optional: what links of a layer can share, see `share_bottlenecks`.
    bottleneck_a: nn.Module
    bottleneck_b: nn.Module

    def __call__(
        self,
        a: Tensor,
        b: Tensor,
        time_a: Tensor | None,
        time_b: Tensor | None,
        update_patches: tuple[bool, bool] = (True, True),
        attend: tuple[AttentionFn, AttentionFn] = BOTH_FUSED,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Residual updates of a and b, or None for no update.

        ``update_patches`` says for a and b whether their patches need an
        update; if not, it is that of the prefix tokens, (B, T, P, C).
        """


def complete_link(link: Mapping, experts: Collection[str]) -> dict:
    """A link's config with ``between`` and ``axes`` as tuples.

    Raises:
        UsageError: If they do not name two experts and two axes.
    """
    link = dict(link)
    axes, between = link.get('axes', ()), link.get('between', ())
    if isinstance(axes, Mapping):  # accepted until version 0.2
        names = list(axes)
        if not between and names == sorted(names) and [*link] == sorted(link):
            raise UsageError(
                f'axes=dict(...) of a link between {names} has sorted keys, '
                'as in a YAML file, which do not say which expert comes '
                'first; give between=(...) and axes=(...) in one order'
            )
        if set(between) != set(names):
            between = names  # a config changes an inherited link's experts
        axes = [axes[name] for name in between]
        warnings.warn(
            'axes=dict(...) of a link is accepted until version 0.2; '
            f'write between={tuple(between)}, axes={tuple(axes)}',
            DeprecationWarning,
            stacklevel=4,
        )
    if len(set(between)) != 2 or not set(between) <= set(experts):
        raise UsageError(
            f'between of a link names two of the experts {sorted(experts)}, '
            f'got {list(between)}'
        )
    if isinstance(axes, str) or len(axes) != 2 or not any(axes):
        raise UsageError(
            f'axes of the link between {list(between)} are two, one for each '
            f'expert (None for one that does not attend), got {axes!r}'
        )
    return dict(link, between=tuple(between), axes=tuple(axes))


def build_links(
    cfgs: Sequence[dict],
    specs: Mapping[str, TokenSpec],
    num_layers: int,
    share_bottlenecks: bool,
) -> tuple[ModuleList, list[list[tuple[str, str, str]]]]:
    """Build the links of all layers.

    Args:
        cfgs: Configs of the links, see :func:`complete_link`.
        specs: Tokens of the experts.
        num_layers: Layers of the experts.
        share_bottlenecks: Whether links of a layer share bottlenecks.

    Returns:
        For each layer the links by key, and (key, expert a, expert b) in the
        order of the configs.

    Raises:
        UsageError: If layers or options of a link do not fit.
    """
    links = ModuleList(ModuleDict() for _ in range(num_layers))
    pairs: list[list[tuple[str, str, str]]] = [[] for _ in links]
    shared: dict[tuple[int, str], nn.ModuleDict] = {}
    for cfg in map(dict, cfgs):
        a, b = cfg.pop('between')
        key = f'{a}_{b}'
        layers = _layers_of(cfg, f'{a}-{b}', num_layers)
        rates = drop_path_rates(cfg.pop('drop_path_rate', 0.0), num_layers)
        units = cfg.pop('drop_path_unit', {})
        if not isinstance(units, Mapping) or not set(units) <= {a, b}:
            raise UsageError(
                'drop_path_unit of a link is a dict by expert, of '
                f'{[a, b]}, got {units!r}'
            )
        cfg['specs'] = (specs[a], specs[b])
        cfg['drop_path_units'] = tuple(units.get(n, 'sample') for n in (a, b))
        for layer in layers:
            if key in links[layer]:
                raise UsageError(
                    f'two links join {a} and {b} in layer {layer}; keep one'
                )
            cfg['drop_path_rate'] = rates[layer]
            if share_bottlenecks:
                cfg['bottlenecks'] = tuple(
                    shared.get((layer, name)) for name in (a, b)
                )
            link = links[layer][key] = MODELS.build(cfg)
            pairs[layer].append((key, a, b))
            if share_bottlenecks:
                shared[layer, a] = link.bottleneck_a
                shared[layer, b] = link.bottleneck_b
    return links, pairs


def _layers_of(cfg: dict, name: str, num_layers: int) -> Sequence[int]:
    """Take the layers of a link out of its config."""
    start, layers = cfg.pop('start_layer', None), cfg.pop('layers', None)
    if layers is None:
        layers = range(start or 0, num_layers)
    elif start is not None:
        raise UsageError(
            f'the link {name} has both layers and start_layer; keep one and '
            'set the other to None'
        )
    if not layers or not set(layers) <= set(range(num_layers)):
        raise UsageError(
            f'layers {list(layers)} (start_layer {start}) of the link {name} '
            f'are not of the layers 0 to {num_layers - 1}'
        )
    return sorted(set(layers))
