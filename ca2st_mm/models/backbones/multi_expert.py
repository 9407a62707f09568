# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The conductor: any experts, any links between them, one loop."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mmengine.model import BaseModule, ModuleDict, ModuleList
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.bottleneck import Bottleneck
from ..layers.drop_path import drop_path_rates
from ..layers.grid_position import TimeEncoder
from .exchange import EXCHANGES
from .last_layer import NEEDED, LastLayer, keep_needed, pools_positions
from .memory import ACTIVATIONS, FROZEN_DTYPES, cast_frozen


@MODELS.register_module()
class MultiExpertBackbone(BaseModule):
    """Experts walk their layers together and exchange between the halves.

    Which experts, which links, along which axis, from which layer and in
    which order is data: with ``exchange='sequential'`` the order of ``links``
    is the order of the updates (CA2ST, section 3).

    Args:
        experts: Config of each expert by name; see :class:`Expert`.
        inputs: Key of the input each expert reads, by name of the expert.
        links: Config of each link: ``type``, ``axes`` (for each of the two
            experts by name, the axis along which it looks at the other),
            optionally ``ratio`` (bottleneck width as a part of the first
            expert's channels, 1/2 in the paper), ``start_layer``,
            ``drop_path_rate`` (last layer; linear from 0), ``drop_path_unit``
            by expert, and arguments of the link.
        exchange: 'sequential' or 'additive' (mean of the updates).
        share_bottlenecks: Whether all links of a layer share one bottleneck
            per expert.
        time_encoders: For each input stream, the width of its encoder
            ``dict(embed_dims=...)``, or the name of the stream whose encoder
            it shares. Needs inputs ``<stream>_times``.
        missing_inputs: 'raise', or 'drop': run without the experts whose
            input is not given, and without their links. A factor
            ``<stream>_present`` (B,) among the inputs does the same sample
            by sample.
        activations: 'store', or 'recompute': keep only the inputs of the
            halves and links and compute the rest again in the backward pass.
        frozen_dtype: 'float32', or with mixed precision its type, such as
            'bfloat16': how frozen weights of matrix products are kept.
        init_cfg: Initialization of the whole backbone.

    Raises:
        ValueError: If the parts do not fit; the message names them.
    """

    def __init__(
        self,
        experts: Mapping[str, dict],
        inputs: Mapping[str, str],
        links: Sequence[dict] = (),
        exchange: str = 'sequential',
        share_bottlenecks: bool = False,
        time_encoders: Mapping[str, dict | str] | None = None,
        missing_inputs: str = 'raise',
        activations: str = 'store',
        frozen_dtype: str = 'float32',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check_choice('activations', activations, ACTIVATIONS)
        _check_choice('exchange', exchange, EXCHANGES)
        _check_choice('frozen_dtype', frozen_dtype, FROZEN_DTYPES)
        _check_choice('missing_inputs', missing_inputs, ('raise', 'drop'))
        if set(experts) != set(inputs):
            raise ValueError(
                f'inputs names {sorted(inputs)}, but the experts are '
                f'{sorted(experts)}; give every expert its input'
            )
        self.experts = ModuleDict(
            {name: MODELS.build(cfg) for name, cfg in experts.items()}
        )
        cast_frozen(self.experts, frozen_dtype)
        self.run = ACTIVATIONS[activations]
        self.inputs = dict(inputs)
        self.num_layers = _common_depth(self.experts)
        self.exchange = EXCHANGES[exchange]
        self.missing_inputs = missing_inputs
        self.share_bottlenecks = share_bottlenecks
        self.pooled = {
            name: pools_positions(expert)
            for name, expert in self.experts.items()
        }
        self.links, self.pairs = self._build_links(links)
        self.last = self._leave_out(exchange)
        self.time_encoders, self.encoder_of = _build_time_encoders(
            time_encoders or {}, set(self.inputs.values())
        )

    def _build_links(
        self, cfgs: Sequence[dict]
    ) -> tuple[ModuleList, list[list[tuple[str, str, str]]]]:
        """Links of every layer, and their (key, expert a, expert b)."""
        layers = [ModuleDict() for _ in range(self.num_layers)]
        pairs: list[list[tuple[str, str, str]]] = [[] for _ in layers]
        shared: dict[Any, Bottleneck] = {}
        for cfg in cfgs:
            cfg = dict(cfg)
            a, b = self._link_ends(cfg)
            start = cfg.pop('start_layer', 0)
            if not 0 <= start < self.num_layers:
                raise ValueError(
                    f'start_layer {start} of link {a}-{b} is not one of the '
                    f'layers 0 to {self.num_layers - 1}'
                )
            rates = drop_path_rates(
                cfg.pop('drop_path_rate', 0.0), self.num_layers
            )
            key = f'{a}_{b}'
            for layer in range(start, self.num_layers):
                if key in layers[layer]:
                    raise ValueError(f'two links join {a} and {b}; keep one')
                owned = shared if self.share_bottlenecks else {}
                link_cfg = dict(cfg, drop_path_rate=rates[layer])
                layers[layer][key] = self._build_link(
                    link_cfg, (a, b), layer, owned
                )
                pairs[layer].append((key, a, b))
        return ModuleList(layers), pairs

    def _link_ends(self, cfg: dict) -> tuple[str, str]:
        ends = tuple(cfg.get('axes', ()))
        if len(ends) != 2 or not set(ends) <= set(self.experts):
            raise ValueError(
                'axes of a link names two of the experts '
                f'{sorted(self.experts)}, got {list(ends)}'
            )
        return ends

    def _build_link(
        self,
        cfg: dict,
        ends: tuple[str, str],
        layer: int,
        bottlenecks: dict[Any, Bottleneck],
    ) -> nn.Module:
        specs = tuple(self.experts[name].token_spec for name in ends)
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
                drop_path_units=tuple(
                    units.get(name, 'sample') for name in ends
                ),
            )
        )

    def _leave_out(self, exchange: str) -> LastLayer:
        """What the last layer needs; its links leave out the rest."""
        pairs = [(a, b) for _, a, b in self.pairs[-1]]
        links = [self.links[-1][key] for key, _, _ in self.pairs[-1]]
        if not all(hasattr(link, 'leave_out') for link in links):
            # A link of somebody else's expects all positions.
            everything = dict.fromkeys(self.experts, True)
            return LastLayer(everything, [(True, True)] * len(links))
        last = NEEDED[exchange](pairs, self.pooled)
        for link, answers in zip(links, last.answers, strict=True):
            for end, needed in zip('ab', answers, strict=True):
                if not needed:
                    link.leave_out(end)
        return last

    def leave_nothing_out(self) -> None:
        """Compute in the last layer what no feature can see, too.

        The features stay the same.  For counting the cost as papers do, and
        for looking at all tokens and at all attention of the last layer.
        """
        self.pooled = dict.fromkeys(self.experts, True)
        self.last = self.last._replace(before=self.pooled)
        for link in self.links[-1].values():
            if hasattr(link, 'leave_nothing_out'):
                link.leave_nothing_out()

    def forward(
        self, imgs: Tensor | None = None, **inputs: Tensor
    ) -> dict[str, Tensor]:
        """Features of all experts.

        Args:
            imgs: Input stream 'imgs', as MMAction2 names it.
            inputs: The other streams by key, and optionally
                ``<stream>_times`` (seconds; frame times or window) and
                ``<stream>_present`` (B,).

        Returns:
            Feature (B, C) by expert; with presence factors also
            ``<expert>_present`` (B, 1).

        Raises:
            KeyError: If an input is missing and may not be.
        """
        inputs = dict(inputs) if imgs is None else dict(inputs, imgs=imgs)
        names = self._active_experts(inputs)
        tokens = {
            n: self.experts[n].embed(inputs[self.inputs[n]]) for n in names
        }
        codes = self._time_codes(names, inputs)
        present = self._presence(names, inputs)
        for layer in range(self.num_layers):
            links = [
                (a, b, partial(self.run, self.links[layer][key]))
                for key, a, b in self.pairs[layer]
                if a in tokens and b in tokens
            ]
            for name in names:
                tokens[name] = self.run(
                    self.experts[name].forward_attn, tokens[name], layer
                )
            is_last = layer == self.num_layers - 1
            if is_last:
                tokens = keep_needed(tokens, self.experts, self.last.before)
            tokens = self.exchange(tokens, links, codes, present)
            if is_last:
                tokens = keep_needed(tokens, self.experts, self.pooled)
            for name in names:
                tokens[name] = self.run(
                    self.experts[name].forward_ffn, tokens[name], layer
                )
        feats = {n: self.experts[n].pool(tokens[n]) for n in names}
        flags = {f'{n}_present': p.flatten(1) for n, p in present.items()}
        return {**feats, **flags}

    def _active_experts(self, inputs: dict[str, Tensor]) -> list[str]:
        names = [n for n in self.experts if self.inputs[n] in inputs]
        if self.missing_inputs == 'raise' and len(names) < len(self.experts):
            missing = {n: k for n, k in self.inputs.items() if k not in inputs}
            raise KeyError(
                f'no input for the experts {missing} among {sorted(inputs)}; '
                "add the key to the pipeline's collect_keys, or set "
                "missing_inputs='drop' to run without them"
            )
        if not names:
            raise KeyError(f'no expert has an input among {sorted(inputs)}')
        return names

    def _time_codes(
        self, names: list[str], inputs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        codes = {}
        for name in names:
            stream = self.inputs[name]
            if stream not in self.encoder_of:
                continue
            if f'{stream}_times' not in inputs:
                raise KeyError(
                    f'time_encoders needs the input {stream}_times; add it '
                    "to the pipeline's collect_keys"
                )
            spans = self.experts[name].token_times(inputs[f'{stream}_times'])
            encoder = self.time_encoders[self.encoder_of[stream]]
            codes[name] = encoder(spans)
        return codes

    def _presence(
        self, names: list[str], inputs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return {
            name: inputs[f'{self.inputs[name]}_present'].view(-1, 1, 1, 1)
            for name in names
            if f'{self.inputs[name]}_present' in inputs
        }


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(
            f'{name} must be one of {sorted(choices)}, got {value!r}'
        )


def _common_depth(experts: Mapping[str, Any]) -> int:
    depths = {name: expert.num_layers for name, expert in experts.items()}
    if len(set(depths.values())) != 1:
        raise ValueError(
            f'experts need equally many layers, got {depths}; a deeper expert '
            'may present two blocks as one layer'
        )
    return next(iter(depths.values()))


def _build_time_encoders(
    cfgs: Mapping[str, dict | str], streams: set[str]
) -> tuple[ModuleDict, dict[str, str]]:
    """Encoders by stream that owns one, and the owner of each stream."""
    if unknown := set(cfgs) - streams:
        raise ValueError(
            f'time_encoders names {sorted(unknown)}, but the input streams '
            f'are {sorted(streams)}'
        )
    owner = {
        stream: cfg if isinstance(cfg, str) else stream
        for stream, cfg in cfgs.items()
    }
    encoders = ModuleDict()
    for stream, cfg in cfgs.items():
        if not isinstance(cfg, str):
            cfg = dict(cfg)
            _check_choice(
                f'type of the time encoder of {stream}',
                cfg.pop('type', 'TimeEncoder'),
                ('TimeEncoder',),
            )
            encoders[stream] = TimeEncoder(**cfg)
    if dangling := set(owner.values()) - set(encoders):
        raise ValueError(
            f'time_encoders shares the encoder of {sorted(dangling)}, which '
            'has none of its own'
        )
    return encoders, owner
