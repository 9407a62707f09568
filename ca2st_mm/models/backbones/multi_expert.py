# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The multi-expert backbone: any experts, any links between them, one loop."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams

from ..layers.attention import KeepWeights
from .exchange import EXCHANGES
from .last_layer import NEEDED, LastLayer, keep_needed
from .links import build_links
from .memory import ACTIVATIONS, FROZEN_DTYPES, cast_frozen
from .time_encoders import build_time_encoders


class AttentionWeights(NamedTuple):
    """Weights of one attention module.

    Attributes:
        axis: Axis along which the query looks at the key: 'time' (the same
            patch), 'space' (the same time step) or 'all'.
        weights: (B, sequences, L, M), float32; each row sums to one.  There
            is a sequence for each of the P + N tokens of a step ('time'),
            for each of the T steps ('space'), or one ('all').
    """

    axis: str
    weights: Tensor


class BackboneOutput(NamedTuple):
    """What :class:`MultiExpertBackbone` returns if more is asked for.

    Attributes:
        features: What it returns otherwise.
        tokens: (B, T, P + N, C) after a layer, by (expert, layer).
        attention: By (query expert, key/value expert, layer); twice the same
            expert is its self-attention.
    """

    features: dict[str, Tensor]
    tokens: dict[tuple[str, int], Tensor]
    attention: dict[tuple[str, str, int], AttentionWeights]


@MODELS.register_module()
class MultiExpertBackbone(BaseModule):
    """Experts run layer by layer and exchange between the two blocks.

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
            it shares. Needs the times of the streams.
        missing_inputs: 'raise', or 'drop': run without the experts whose
            input is not given, and without their links. The presence
            (B,) of a stream does the same sample by sample.
        activations: 'store', or 'recompute': keep only the inputs of the
            blocks and links and compute the rest again in the backward pass.
        frozen_dtype: 'float32', or with mixed precision its type, such as
            'bfloat16': how frozen weights of matrix products are kept.
        prune_last_layer: Whether the last layer leaves out what cannot reach
            a feature. Switched off for counting the cost as papers do.
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
        prune_last_layer: bool = True,
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
        self.exchange, self.needed = EXCHANGES[exchange], NEEDED[exchange]
        self.prune_last_layer = prune_last_layer
        self.missing_inputs = missing_inputs
        self.links, self.pairs = build_links(
            links,
            {name: e.token_spec for name, e in self.experts.items()},
            self.num_layers,
            share_bottlenecks,
        )
        self.time_encoders, self.encoder_of = build_time_encoders(
            time_encoders or {}, set(self.inputs.values())
        )

    def forward(
        self,
        imgs: Stream | Tensor | None = None,
        *,
        experts: Collection[str] | None = None,
        return_tokens: Collection[int] | bool = False,
        return_attention: Collection[int] | bool = False,
        attention_head: int | None = None,
        **inputs: Stream | Tensor,
    ) -> dict[str, Tensor] | BackboneOutput:
        """Features of the experts.

        ``backbone(**streams)`` gives all features,
        ``backbone(**streams, experts=['spatial'])`` those of some experts,
        ``backbone(**streams, return_tokens=[11]).tokens['audio', 11]`` the
        tokens after a layer, and
        ``backbone(**streams, return_attention=True).attention`` all
        attention.  Nothing of the model is changed by these arguments, so
        threads may share it.

        Args:
            imgs: Input stream 'imgs', as MMAction2 names it.
            experts: The experts that run; the others and their links are
                left out as if their input were missing. None for all.
            return_tokens: Layers, from 0, after which the tokens of all
                experts are returned; True for all layers.
            return_attention: Layers of which the attention of experts and
                links is returned; True for all layers. Experts that compute
                attention in their own way (wrapped ViTs) have none.
            attention_head: The head whose attention is returned; None for
                the mean over heads.
            inputs: The other streams by key; as
                :class:`~ca2st_mm.structures.Stream` with their times
                (seconds) and presence (B,), or their values alone.

        Returns:
            Feature (B, C) by expert; for streams with presence also
            ``<expert>_present`` (B, 1).  If tokens or attention are asked
            for, a :class:`BackboneOutput` with these features.

        Raises:
            KeyError: If an input is missing and may not be.
            ValueError: If there is no such expert, layer or head.
        """
        streams = as_streams(
            inputs if imgs is None else dict(imgs=imgs, **inputs)
        )
        names = self._active_experts(streams, experts)
        token_layers = self._layers(return_tokens)
        attention_layers = self._layers(return_attention)
        all_tokens, kept = {}, {}
        tokens = {
            n: self.experts[n].embed(streams[self.inputs[n]].values)
            for n in names
        }
        codes = self._time_codes(names, streams)
        present = self._presence(names, streams)
        for layer in range(self.num_layers):
            keeps = layer in attention_layers
            is_last = layer == self.num_layers - 1
            whole = not is_last or layer in token_layers | attention_layers
            pairs = [
                (key, a, b)
                for key, a, b in self.pairs[layer]
                if a in tokens and b in tokens
            ]
            for name in names:
                extra = []
                if keeps:
                    extra = [KeepWeights(attention_head)]
                    kept[name, name, layer] = extra[0]
                tokens[name] = self.run(
                    self.experts[name].forward_attn,
                    tokens[name],
                    layer,
                    *extra,
                )
            needs = None if whole else self._needed(pairs, names)
            if needs is not None:
                tokens = keep_needed(tokens, self.experts, needs.before)
            links = []
            for number, (key, a, b) in enumerate(pairs):
                link, options = self.links[layer][key], {}
                if needs is not None:
                    options['patches'] = needs.updates[number]
                if keeps:
                    attend = (
                        KeepWeights(attention_head),
                        KeepWeights(attention_head),
                    )
                    kept[a, b, layer], kept[b, a, layer] = attend
                    options['attend'] = attend
                links.append((a, b, partial(self.run, link, **options)))
            tokens = self.exchange(tokens, links, codes, present)
            if needs is not None:
                tokens = keep_needed(tokens, self.experts, self._pooled(names))
            for name in names:
                tokens[name] = self.run(
                    self.experts[name].forward_ffn, tokens[name], layer
                )
                if layer in token_layers:
                    all_tokens[name, layer] = tokens[name]
        features = {n: self.experts[n].pool(tokens[n]) for n in names}
        for name, factor in present.items():
            features[f'{name}_present'] = factor.flatten(1)
        if not (token_layers or attention_layers):
            return features
        return BackboneOutput(
            features, all_tokens, self._attention(kept, features)
        )

    def _layers(self, layers: Collection[int] | bool) -> set[int]:
        if isinstance(layers, bool):
            return set(range(self.num_layers)) if layers else set()
        if wrong := [n for n in layers if not 0 <= n < self.num_layers]:
            raise ValueError(
                f'the model has the layers 0 to {self.num_layers - 1}, got '
                f'{wrong}'
            )
        return set(layers)

    def _pooled(self, names: Sequence[str]) -> dict[str, bool]:
        """Whether an expert pools more than its prefix tokens."""
        return {
            n: getattr(self.experts[n], 'pools_patches', True) for n in names
        }

    def _needed(
        self, pairs: Sequence[tuple[str, str, str]], names: Sequence[str]
    ) -> LastLayer | None:
        """What the features need of the last layer; None for everything."""
        links = [self.links[-1][key] for key, _, _ in pairs]
        # A link of somebody else's expects all patches.
        prunable = all(getattr(link, 'prunable', False) for link in links)
        if not (self.prune_last_layer and prunable):
            return None
        ends = [(a, b) for _, a, b in pairs]
        return self.needed(ends, self._pooled(names))

    def _attention(
        self,
        kept: dict[tuple[str, str, int], KeepWeights],
        features: dict[str, Tensor],
    ) -> dict[tuple[str, str, int], AttentionWeights]:
        rows = len(next(iter(features.values())))
        axes = {
            (query, query, layer): getattr(expert, 'axis', None)
            for query, expert in self.experts.items()
            for layer in range(self.num_layers)
        }
        for layer, pairs in enumerate(self.pairs):
            for key, a, b in pairs:
                link = self.links[layer][key]
                axes[a, b, layer], axes[b, a, layer] = link.axes
        return {
            place: AttentionWeights(
                axes[place], keep.weights.unflatten(0, (rows, -1))
            )
            for place, keep in kept.items()
            if keep.weights is not None
        }

    def _active_experts(
        self, streams: Mapping[str, Stream], chosen: Collection[str] | None
    ) -> list[str]:
        wanted = list(self.experts)
        if chosen is not None:
            if unknown := set(chosen) - set(wanted):
                raise ValueError(
                    f'there is no expert {sorted(unknown)}; the experts are '
                    f'{wanted}'
                )
            wanted = [name for name in wanted if name in set(chosen)]
        names = [n for n in wanted if self.inputs[n] in streams]
        if self.missing_inputs == 'raise' and len(names) < len(wanted):
            missing = {
                n: self.inputs[n]
                for n in wanted
                if self.inputs[n] not in streams
            }
            raise KeyError(
                f'no input for the experts {missing} among '
                f'{sorted(streams)}; pack it in the pipeline, or set '
                "missing_inputs='drop' to run without them"
            )
        if not names:
            raise KeyError(f'no expert has an input among {sorted(streams)}')
        return names

    def _time_codes(
        self, names: Sequence[str], streams: Mapping[str, Stream]
    ) -> dict[str, Tensor]:
        codes = {}
        for name in names:
            stream = self.inputs[name]
            if stream not in self.encoder_of:
                continue
            if streams[stream].times is None:
                raise KeyError(
                    f'time_encoders needs the times of the stream {stream!r}; '
                    'pack them in the pipeline (PackAudioVisual does, after '
                    'FrameTimes and LogMelSpectrogram)'
                )
            spans = self.experts[name].token_times(streams[stream].times)
            encoder = self.time_encoders[self.encoder_of[stream]]
            codes[name] = encoder(spans)
        return codes

    def _presence(
        self, names: Sequence[str], streams: Mapping[str, Stream]
    ) -> dict[str, Tensor]:
        return {
            name: streams[self.inputs[name]].present.view(-1, 1, 1, 1)
            for name in names
            if streams[self.inputs[name]].present is not None
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
