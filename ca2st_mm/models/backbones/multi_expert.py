# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The multi-expert backbone: any experts, any links between them, one loop.

Read :meth:`MultiExpertBackbone.forward` first; what it calls stands below it
in the order of the calls, and how links are built at the end.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from mmengine.model import BaseModule, ModuleDict, ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams
from ca2st_mm.utils.errors import check_choice

from ..layers.fusion import at_least_one
from ..layers.tokens import TokenSpec
from ..layers.transformer import (
    BOTH_FUSED,
    AttentionFn,
    RecordingAttention,
    drop_path_rates,
    fused_attention,
)
from .foreign import agree_on_frames, expert_config

Tokens = dict[str, Tensor]  # (B, T, P + N, C) by expert
FROZEN_DTYPES = ('float32', 'bfloat16', 'float16')


class Link(Protocol):
    """What joins two experts, a and b, in one layer.

    Built with the arguments of its config, of these ``axes`` for every link,
    and with ``specs`` (the ``TokenSpec`` of a and of b), ``drop_path_rate``,
    ``drop_path_units`` (of a and of b) and, if bottlenecks are shared,
    ``bottlenecks``: for a and b what the layer's earlier links have as
    ``bottleneck_a`` or ``bottleneck_b``, or None.
    """

    # Optional: axis along which a reads b, and b reads a; None for a direction
    # that the link has not.  Without it the link is called with the tokens and
    # time codes alone, and always gets all patches.
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


class AttentionWeights(NamedTuple):
    """Weights of one attention module.

    Attributes:
        axis: Axis along which the query reads the context: 'time', 'space',
            'all' or 'frames'.
        weights: (B, sequences, L, M), float32; each row sums to one.  There
            is a sequence for each of the P + N tokens of a step ('time'),
            for each of the T steps ('space', of the context 'frames'), or one
            ('all').  Links read patches only, N without P.
    """

    axis: str
    weights: Tensor


class BackboneOutput(NamedTuple):
    """What :class:`MultiExpertBackbone` returns if more is asked for.

    Attributes:
        features: What it returns otherwise.
        tokens: (B, T, P + N, C) after a layer, by (expert, layer).
        attention: By (query expert, context expert, layer); twice the same
            expert is its self-attention.
    """

    features: dict[str, Tensor]
    tokens: dict[tuple[str, int], Tensor]
    attention: dict[tuple[str, str, int], AttentionWeights]


@MODELS.register_module()
class MultiExpertBackbone(BaseModule):
    """Experts run layer by layer and exchange between the two blocks.

    Which experts, which links, along which axis, in which layers and in
    which order is set in the config: with ``exchange='sequential'`` the order
    of ``links`` is the order of the updates (CA2ST, section 3).  The order of
    keys in a dict has no meaning.

    Args:
        experts: Config of each expert by name, see :class:`Expert`, or one
            string, see :func:`~.foreign.expert_config`.
        inputs: Stream that each expert reads, by name of the expert.
        links: Config of each :class:`Link`: ``type``, ``between`` (two
            experts), ``axes`` (for each of the two in this order, the axis
            along which it reads the other; None if it does not), optionally
            ``layers`` (a list) or ``start_layer`` (and all after it; 0),
            ``drop_path_rate`` (of the last layer; linear from 0),
            ``drop_path_unit`` by expert, and arguments of the link, such as
            ``ratio``.
        exchange: 'sequential' (each link reads what the earlier ones wrote)
            or 'additive' (all read the same; mean of the updates).
        share_bottlenecks: Whether all links of a layer share one bottleneck
            per expert.
        time_encoders: For each input stream, the width of its encoder
            ``dict(embed_dims=...)``, or the name of the stream whose encoder
            it shares. Needs the times of the streams.
        missing_inputs: What happens if a whole stream is missing from the
            batch: 'raise', or 'drop': run without the experts that read it,
            and without their links. In both cases the presence (B,) of a
            stream masks single samples without it, such as clips without
            audio.
        activations: 'store', or 'recompute': keep only the inputs of the
            blocks and links and compute the rest again in the backward pass.
        frozen_dtype: 'float32', or with mixed precision its type, such as
            'bfloat16': how frozen weights of matrix products are kept.
            ``torch.autocast`` casts the same weights in every forward pass,
            so that only the memory changes.
        prune_last_layer: Whether the last layer leaves out what cannot reach
            a feature. Switch it off to count the cost as papers do.
        init_cfg: Initialization of the whole backbone.

    Raises:
        ValueError: If the parts do not fit; the message names them.

    Example:
        >>> import torch
        >>> from mmaction.registry import MODELS
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32, patch_size=16)
        >>> backbone = MODELS.build(dict(
        ...     type='MultiExpertBackbone',
        ...     experts=dict(
        ...         spatial=dict(type='CLIPExpert', arch=size, img_size=32,
        ...                      num_frames=2, frame_stride=2),
        ...         temporal=dict(type='VideoMAEExpert', arch=size,
        ...                       img_size=32, num_frames=4)),
        ...     inputs=dict(spatial='imgs', temporal='imgs'),
        ...     links=[dict(type='BottleneckCrossAttention', num_heads=2,
        ...                 between=('spatial', 'temporal'),
        ...                 axes=('time', 'space'))]))
        >>> video = torch.randn(1, 3, 4, 32, 32)
        >>> {k: tuple(v.shape) for k, v in backbone(video).items()}
        {'spatial': (1, 16), 'temporal': (1, 16)}
        >>> backbone(video, return_tokens=[0]).tokens['temporal', 0].shape
        torch.Size([1, 2, 4, 16])
    """

    def __init__(
        self,
        experts: Mapping[str, dict | str],
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
        check_choice('activations', activations, RUN_MODES)
        check_choice('exchange', exchange, EXCHANGES)
        check_choice('frozen_dtype', frozen_dtype, FROZEN_DTYPES)
        check_choice('missing_inputs', missing_inputs, ('raise', 'drop'))
        if set(experts) != set(inputs):
            raise ValueError(
                f'inputs names {sorted(inputs)}, but the experts are '
                f'{sorted(experts)}; give every expert its input'
            )
        links = [_normalised_link(link, experts) for link in links]
        # Parameters, and so states of optimizers, follow this order: that of
        # the links, then of the names, which no sorting of keys can change.
        ends = [name for link in links for name in link['between']]
        names = list(dict.fromkeys([*ends, *sorted(experts)]))
        self.experts = ModuleDict(
            {
                name: MODELS.build(expert_config(experts[name]))
                for name in names
            }
        )
        agree_on_frames(
            self.experts, inputs, [link['between'] for link in links]
        )
        for module in self.experts.modules():
            if isinstance(
                module, (nn.Linear, nn.Conv2d, nn.Conv3d)
            ) and not any(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.to(getattr(torch, frozen_dtype))
        depths = {n: expert.num_layers for n, expert in self.experts.items()}
        if len(set(depths.values())) != 1:
            raise ValueError(
                f'experts need equally many layers, got {depths}; a deeper '
                'expert of another library may count two blocks as one layer '
                '(blocks_per_layer=2) or begin later (start_block=12)'
            )
        self.num_layers = depths[names[0]]
        self.inputs = {name: inputs[name] for name in names}
        self.links, self.pairs = _build_links(
            links,
            {name: e.token_spec for name, e in self.experts.items()},
            self.num_layers,
            share_bottlenecks,
        )
        self.time_encoders, self.encoder_of = _build_time_encoders(
            time_encoders or {}, list(dict.fromkeys(self.inputs.values()))
        )
        self.exchange = exchange
        self.missing_inputs = missing_inputs
        self.lean = frozen_dtype != 'float32'
        self.run_block = RUN_MODES[activations]
        self.prune_last_layer = prune_last_layer

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

        No argument changes the model, so threads may share it.

        Args:
            imgs: Input stream 'imgs', as MMAction2 names it.
            experts: The experts that run; the others and their links are
                left out as if their input were missing. None for all.
            return_tokens: Layers, from 0, after which the tokens of all
                experts are returned; True for all layers.
            return_attention: Layers of which the attention of experts and
                links is returned; True for all layers. WavLM and ViViT have
                none: it is computed in another way, or has one class token
                for all steps.
            attention_head: The head whose attention is returned; None for
                the mean over heads.
            inputs: The other streams by name; as
                :class:`~ca2st_mm.structures.Stream` with their times
                (seconds) and presence (B,), or their values alone.

        Returns:
            Feature (B, C) by expert; for streams with presence also
            ``<expert>_present`` (B, 1).  If tokens or attention are asked
            for, a :class:`BackboneOutput` with these features.

        Raises:
            KeyError: If an input is missing and may not be.
            ValueError: If there is no such expert, layer or head, or the
                frozen weights need autocast and it is off.
        """
        streams = as_streams(
            inputs if imgs is None else dict(imgs=imgs, **inputs)
        )
        self._check_precision()
        names = self._active_experts(streams, experts)
        token_layers = self._layers(return_tokens)
        attention_layers = self._layers(return_attention)
        recorded: dict[tuple[str, str, int], RecordingAttention] = {}

        def attention_for(
            query: str, key: str, layer: int, axis: str | None
        ) -> AttentionFn:
            if layer not in attention_layers:
                return fused_attention
            recording = RecordingAttention(attention_head, axis)
            recorded[query, key, layer] = recording
            return recording

        time_codes, present = self._time_codes(names, streams), {}
        tokens, all_tokens, contexts = {}, {}, {}
        for name in names:
            values, _, presence = streams[self.inputs[name]]
            tokens[name] = self.experts[name].embed(values)
            if hasattr(self.experts[name], 'context'):
                contexts[name] = self.experts[name].context(tokens[name])
            if presence is not None:
                present[name] = presence.view(-1, 1, 1, 1)
        for layer in range(self.num_layers):
            for name in names:
                expert, options = self.experts[name], {}
                if name in contexts:
                    options['context'] = contexts[name]
                # Without an axis, attention is not recorded.
                if axis := getattr(expert, 'axis', None):
                    options['attend'] = attention_for(name, name, layer, axis)
                tokens[name] = self.run_block(
                    expert.forward_attn, tokens[name], layer, **options
                )
            tokens = self._run_links(
                tokens,
                layer,
                not self.prune_last_layer
                or layer < self.num_layers - 1
                or layer in token_layers | attention_layers,
                time_codes,
                present,
                attention_for,
            )
            for name in names:
                tokens[name] = self.run_block(
                    self.experts[name].forward_ffn, tokens[name], layer
                )
                if layer in token_layers:
                    all_tokens[name, layer] = tokens[name]
        features = {n: self.experts[n].pool(tokens[n]) for n in names}  # (B,C)
        for name, factor in present.items():
            features[f'{name}_present'] = factor.flatten(1)  # (B, 1)
        if not (token_layers or attention_layers):
            return features
        rows = len(features[names[0]])
        attention = {
            key: AttentionWeights(
                recording.axis, recording.weights.unflatten(0, (rows, -1))
            )
            for key, recording in recorded.items()
            if recording.weights is not None  # None: direction left out
        }
        return BackboneOutput(features, all_tokens, attention)

    def _check_precision(self) -> None:
        """Refuse frozen weights of another type where nothing casts them."""
        kind = next(self.parameters()).device.type
        if not self.lean or kind == 'meta' or torch.is_autocast_enabled(kind):
            return
        if len(found := {p.dtype for p in self.parameters()}) > 1:
            raise ValueError(
                f'the weights have the types {sorted(map(str, found))}, as '
                'frozen_dtype says, and run together under '
                'torch.autocast(device, torch.bfloat16) only; train and test '
                'with --precision bfloat16, or convert the whole model'
            )

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
            wanted = [name for name in wanted if name in chosen]
        names = [n for n in wanted if self.inputs[n] in streams]
        if self.missing_inputs == 'raise' and len(names) < len(wanted):
            missing = {n: self.inputs[n] for n in wanted if n not in names}
            raise KeyError(
                f'no input for the experts {missing} among '
                f'{sorted(streams)}; pack it in the pipeline, or set '
                "missing_inputs='drop' to run without them"
            )
        if not names:
            raise KeyError(f'no expert has an input among {sorted(streams)}')
        return names

    def _layers(self, layers: Collection[int] | bool) -> set[int]:
        if isinstance(layers, bool):
            return set(range(self.num_layers)) if layers else set()
        if wrong := [n for n in layers if not 0 <= n < self.num_layers]:
            raise ValueError(
                f'the model has the layers 0 to {self.num_layers - 1}, got '
                f'{wrong}'
            )
        return set(layers)

    def _time_codes(
        self, names: Sequence[str], streams: Mapping[str, Stream]
    ) -> Tokens:
        """Code of the clock time of every patch, (B, T, N or 1, width)."""
        codes = {}
        for name in names:
            stream = self.inputs[name]
            if stream not in self.encoder_of:
                continue
            times = streams[stream].times
            if times is None:
                raise KeyError(
                    f'time_encoders needs the times of the stream {stream!r}; '
                    'pack them in the pipeline (PackAudioVisual does, after '
                    'FrameTimes and LogMelSpectrogram)'
                )
            spans = self.experts[name].token_times(times)
            codes[name] = self.time_encoders[self.encoder_of[stream]](spans)
        return codes

    def _run_links(
        self,
        tokens: Tokens,
        layer: int,
        all_needed: bool,
        time_codes: Tokens,
        present: Tokens,
        attention_for: Callable[[str, str, int, str | None], AttentionFn],
    ) -> Tokens:
        """Tokens after the links of a layer, without patches not needed.

        Time codes and presence (B, 1, 1, 1) are by expert, as tokens are;
        ``all_needed`` is true in every layer but the last.
        """
        links = {
            (a, b): self.links[layer][key]
            for key, a, b in self.pairs[layer]
            if a in tokens and b in tokens
        }
        needed_before, needed_after, update_needed = self._needed_patches(
            list(tokens), links, all_needed
        )
        link_calls = {}
        for (a, b), link in links.items():
            options = {}
            if hasattr(link, 'axes'):
                options['update_patches'] = update_needed[a, b]
                options['attend'] = (
                    attention_for(a, b, layer, link.axes[0]),
                    attention_for(b, a, layer, link.axes[1]),
                )
            link_calls[a, b] = partial(self.run_block, link, **options)
        tokens = self._without_patches(tokens, needed_before)
        exchange = EXCHANGES[self.exchange]
        tokens = exchange(tokens, link_calls, time_codes, present)
        return self._without_patches(tokens, needed_after)

    def _needed_patches(
        self,
        names: Sequence[str],
        links: Mapping[tuple[str, str], Link],
        all_needed: bool,
    ) -> tuple[dict, dict, dict]:
        """What a layer has to compute of the patches.

        CLIP and AST pool their prefix tokens only, and these never read
        through a link.  So in the last layer whole directions of links, and
        what happens to those patches afterwards, reach no feature.

        Returns:
            By expert, whether its patches are needed before the links, and
            after them; by link, for which of its two experts an update of
            the patches is needed.
        """
        # Links without `axes` (third-party) always get all patches.
        all_needed |= not all(hasattr(link, 'axes') for link in links.values())
        needed_after = {
            name: all_needed
            or getattr(self.experts[name], 'pools_patches', True)
            for name in names
        }
        needed_before, update_needed = dict(needed_after), {}
        for (a, b), link in reversed(links.items()):
            # Sequential links read what the earlier ones wrote, additive
            # ones what there was before.
            sequential = self.exchange == 'sequential'
            needed = needed_before if sequential else needed_after
            axis_a, axis_b = getattr(link, 'axes', ('all', 'all'))
            to_a = needed[a] and axis_a is not None
            to_b = needed[b] and axis_b is not None
            update_needed[a, b] = (to_a, to_b)
            needed_before[a] |= to_b
            needed_before[b] |= to_a
        return needed_before, needed_after, update_needed

    def _without_patches(
        self, tokens: Tokens, needed: Mapping[str, bool]
    ) -> Tokens:
        """Cut off the patches, (B, T, P, C), where they are not needed."""
        cut = dict(tokens)
        for name, value in tokens.items():
            if not needed[name]:
                prefix = self.experts[name].token_spec.num_prefix_tokens
                cut[name] = value[:, :, :prefix]
        return cut


def exchange_sequentially(
    tokens: Tokens,
    link_calls: Mapping[tuple[str, str], Callable],
    time_codes: Tokens,
    present: Tokens,
) -> Tokens:
    """Links run in their order; each reads what the earlier ones wrote.

    Args:
        tokens: (B, T, P + N, C) by expert; not changed.
        link_calls: By the two experts a link joins, the function of their
            tokens and time codes that returns the two updates.
        time_codes: By expert.
        present: By expert, (B, 1, 1, 1), 0 for samples without its input.

    Returns:
        The tokens with all updates.
    """
    tokens = dict(tokens)
    for (a, b), call in link_calls.items():
        updates = call(
            tokens[a], tokens[b], time_codes.get(a), time_codes.get(b)
        )
        for name, other, update in zip((a, b), (b, a), updates, strict=True):
            if update is not None:
                if other in present:
                    update = update * present[other]
                tokens[name] = _add(tokens[name], update)
    return tokens


def exchange_additively(
    tokens: Tokens,
    link_calls: Mapping[tuple[str, str], Callable],
    time_codes: Tokens,
    present: Tokens,
) -> Tokens:
    """All links read the same tokens; updates of an expert are averaged.

    Arguments and result are those of :func:`exchange_sequentially`.
    """
    sums, counts = {}, {}
    for (a, b), call in link_calls.items():
        updates = call(
            tokens[a], tokens[b], time_codes.get(a), time_codes.get(b)
        )
        for name, other, update in zip((a, b), (b, a), updates, strict=True):
            if update is not None:
                factor = present.get(other, 1)
                sums[name] = sums.get(name, 0) + update * factor
                counts[name] = counts.get(name, 0) + factor
    return {
        name: _add(value, sums[name] / at_least_one(counts[name]))
        if name in sums
        else value
        for name, value in tokens.items()
    }


def _add(tokens: Tensor, update: Tensor) -> Tensor:
    # An update of prefix tokens alone says that the patches are not needed.
    # A slice of all would cost zeros and a copy in the backward pass.
    if update.shape[2] < tokens.shape[2]:
        tokens = tokens[:, :, : update.shape[2]]
    return tokens + update


EXCHANGES = {
    'sequential': exchange_sequentially,
    'additive': exchange_additively,
}


def _call(part: Callable, *args: Any, **kwargs: Any) -> Any:
    return part(*args, **kwargs)


# How a block or a link is run.  The reentrant kind of recomputing would lose
# the gradients of the first layer, whose tokens come from frozen embeddings
# and need none.
RUN_MODES = {
    'store': _call,
    'recompute': partial(checkpoint, use_reentrant=False),
}


def _normalised_link(link: Mapping, experts: Collection[str]) -> dict:
    """A link's config with ``between`` and ``axes`` as tuples."""
    link = dict(link)
    axes, between = link.get('axes', ()), link.get('between', ())
    if isinstance(axes, Mapping):  # accepted until version 0.2
        names = list(axes)
        if not between and names == sorted(names) and [*link] == sorted(link):
            raise ValueError(
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
        raise ValueError(
            f'between of a link names two of the experts {sorted(experts)}, '
            f'got {list(between)}'
        )
    if isinstance(axes, str) or len(axes) != 2:
        raise ValueError(
            f'axes of the link between {list(between)} are two, one for each '
            f'(None for one that does not read), got {axes!r}'
        )
    return dict(link, between=tuple(between), axes=tuple(axes))


def _build_links(
    cfgs: Sequence[dict],
    specs: Mapping[str, TokenSpec],
    num_layers: int,
    share_bottlenecks: bool,
) -> tuple[ModuleList, list[list[tuple[str, str, str]]]]:
    """For each layer the links by key, and (key, expert a, expert b).

    The latter in the order of the links' configs, which stand as
    :func:`_normalised_link` leaves them.
    """
    links = ModuleList(ModuleDict() for _ in range(num_layers))
    pairs: list[list[tuple[str, str, str]]] = [[] for _ in links]
    shared: dict[tuple[int, str], nn.ModuleDict] = {}
    for cfg in cfgs:
        cfg = dict(cfg)
        a, b = cfg.pop('between')
        layers = _layers_of(cfg, f'{a}-{b}', num_layers)
        rates = drop_path_rates(cfg.pop('drop_path_rate', 0.0), num_layers)
        units = cfg.pop('drop_path_unit', {})
        if not isinstance(units, Mapping) or not set(units) <= {a, b}:
            raise ValueError(
                'drop_path_unit of a link is a dict by expert, of '
                f'{[a, b]}, got {units!r}'
            )
        cfg['specs'] = (specs[a], specs[b])
        cfg['drop_path_units'] = tuple(units.get(n, 'sample') for n in (a, b))
        key = f'{a}_{b}'
        for layer in layers:
            if key in links[layer]:
                raise ValueError(
                    f'two links join {a} and {b} in layer {layer}; keep one'
                )
            link_cfg = dict(cfg, drop_path_rate=rates[layer])
            if share_bottlenecks:
                link_cfg['bottlenecks'] = tuple(
                    shared.get((layer, name)) for name in (a, b)
                )
            link = links[layer][key] = MODELS.build(link_cfg)
            pairs[layer].append((key, a, b))
            if share_bottlenecks:
                shared[layer, a] = link.bottleneck_a
                shared[layer, b] = link.bottleneck_b
    return links, pairs


def _layers_of(cfg: dict, name: str, num_layers: int) -> Sequence[int]:
    """Take the layers of a link out of its config."""
    start, layers = cfg.pop('start_layer', None), cfg.pop('layers', None)
    if layers is None:
        layers = range(0 if start is None else start, num_layers)
    elif start is not None:
        raise ValueError(
            f'the link {name} has both layers and start_layer; keep one and '
            'set the other to None'
        )
    if not layers or not set(layers) <= set(range(num_layers)):
        raise ValueError(
            f'layers {list(layers)} (start_layer {start}) of the link {name} '
            f'are not of the layers 0 to {num_layers - 1}'
        )
    return sorted(set(layers))


def _build_time_encoders(
    cfgs: Mapping[str, dict | str], streams: Sequence[str]
) -> tuple[ModuleDict, dict[str, str]]:
    """Encoders by the stream that owns one, and the owner of each stream."""
    if unknown := set(cfgs) - set(streams):
        raise ValueError(
            f'time_encoders names {sorted(unknown)}, but the input streams '
            f'are {sorted(streams)}'
        )
    owner, encoders = {}, ModuleDict()
    for stream in [stream for stream in streams if stream in cfgs]:
        cfg = cfgs[stream]
        owner[stream] = cfg if isinstance(cfg, str) else stream
        if not isinstance(cfg, str):
            encoders[stream] = MODELS.build(dict(type='TimeEncoder') | cfg)
    if dangling := set(owner.values()) - set(encoders):
        raise ValueError(
            f'time_encoders shares the encoder of {sorted(dangling)}, which '
            'has none of its own'
        )
    return encoders, owner
