# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The conductor: any experts, any links between them, one loop."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from ca2st_mm.registry import MODELS

from .exchange import EXCHANGES
from .last_layer import NEEDED, LastLayer, keep_needed, pools_positions
from .links import build_links
from .memory import ACTIVATIONS, FROZEN_DTYPES, cast_frozen
from .time_encoders import build_time_encoders


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
        self.pooled = {
            name: pools_positions(expert)
            for name, expert in self.experts.items()
        }
        self.links, self.pairs = build_links(
            links,
            {name: e.token_spec for name, e in self.experts.items()},
            self.num_layers,
            share_bottlenecks,
        )
        self.last = self._leave_out(exchange)
        self.time_encoders, self.encoder_of = build_time_encoders(
            time_encoders or {}, set(self.inputs.values())
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
