# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The multi-expert backbone: any experts, any links between them, one loop.

Read :meth:`MultiExpertBackbone.forward` first; what it calls stands below it
in the order of the calls.  Links are built in :mod:`.links`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams
from ca2st_mm.utils.errors import UsageError, check_choice

from ..layers.fusion import at_least_one
from ..layers.transformer import (
    AttentionFn,
    RecordingAttention,
    fused_attention,
)
from .foreign import agree_on_frames, check_frames, expert_config
from .links import Link, build_links, complete_link

ByExpert = dict[str, Tensor]  # such as tokens (B, T, P + N, C) by expert


class AttentionWeights(NamedTuple):
    """Weights of one attention module.

    Attributes:
        axis: Axis along which the query attends to the context: 'time',
            'space', 'all' or 'frames'.
        weights: (B, sequences, L, M), float32, from L queries to M keys;
            each row sums to one.  The sequences: 'time' has one for each of
            the P + N tokens of a step, 'space' one for each time step,
            'frames' one for each time step of the context, 'all' a single
            one.  In links the tokens are patches alone, N without P.
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

    features: dict[str, Tensor | Stream]
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
        inputs: Name of the stream that each expert takes, by name of the
            expert.
        links: Config of each :class:`Link`: ``type``, ``between`` (two
            experts), ``axes`` (for each of the two in this order, the axis
            along which it attends to the other; None if it does not; the
            papers' T2S and S2T are axes of one link, see
            :class:`BottleneckCrossAttention`), optionally
            ``layers`` (a list) or ``start_layer`` (and all after it; 0),
            ``drop_path_rate`` (of the last layer; linear from 0),
            ``drop_path_unit`` by expert, and arguments of the link, such as
            ``ratio``.
        exchange: 'sequential' (each link gets the tokens with the updates
            of the earlier ones) or 'additive' (all get the same tokens; an
            expert adds the mean of its updates).
        share_bottlenecks: Whether all links of a layer share one bottleneck
            per expert.
        time_encoders: For each input stream, the width of its encoder
            ``dict(embed_dims=...)``, or the name of the stream whose encoder
            it shares. Needs the times of the streams.
        missing_inputs: What happens if a whole stream is missing from the
            batch: 'raise', or 'drop': run without the experts that take it,
            and without their links. In both cases the presence (B,) of a
            stream masks single samples without it, such as clips without
            audio.
        activations: 'store', or 'recompute': keep only the inputs of the
            blocks and links and compute the rest again in the backward pass.
        frozen_dtype: 'float32', or with mixed precision its type, such as
            'bfloat16': how frozen weights of matrix products are kept.
            ``torch.autocast`` casts the same weights in every forward pass,
            so that only the memory changes.
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
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for option, value, choices in (
            ('activations', activations, ('store', 'recompute')),
            ('exchange', exchange, ('sequential', 'additive')),
            ('frozen_dtype', frozen_dtype, ('float32', 'bfloat16', 'float16')),
            ('missing_inputs', missing_inputs, ('raise', 'drop')),
        ):
            check_choice(option, value, choices)
        if set(experts) != set(inputs):
            raise UsageError(
                f'inputs names {sorted(inputs)}, but the experts are '
                f'{sorted(experts)}; give every expert its input'
            )
        links = [complete_link(link, experts) for link in links]
        between = [link['between'] for link in links]
        # Parameters, and so states of optimizers, follow this order: that of
        # the links, then of the names, which no sorting of keys can change.
        names = list(dict.fromkeys([*sum(between, ()), *sorted(experts)]))
        self.experts = ModuleDict(
            {n: MODELS.build(expert_config(experts[n])) for n in names}
        )
        agree_on_frames(self.experts, inputs, between)
        for module in self.experts.modules():
            if isinstance(
                module, (nn.Linear, nn.Conv2d, nn.Conv3d)
            ) and not any(p.requires_grad for p in module.parameters()):
                module.to(getattr(torch, frozen_dtype))
        depths = {n: expert.num_layers for n, expert in self.experts.items()}
        if len(set(depths.values())) != 1:
            raise UsageError(
                f'experts need equally many layers, got {depths}; a deeper '
                'expert of another library may count two blocks as one layer '
                '(blocks_per_layer=2) or begin later (start_block=12)'
            )
        self.num_layers = depths[names[0]]
        self.inputs = {name: inputs[name] for name in names}
        # By layer: the links by key, and (key, expert a, expert b) in the
        # order of the config.
        self.links, self.pairs = build_links(
            links,
            {name: e.token_spec for name, e in self.experts.items()},
            self.num_layers,
            share_bottlenecks,
        )
        self.time_encoders = ModuleDict()
        self.encoder_of: dict[str, str] = {}  # by stream, the encoder's name
        time_encoders = dict(time_encoders or {})
        for stream in dict.fromkeys(self.inputs.values()):
            if isinstance(cfg := time_encoders.pop(stream, None), str):
                self.encoder_of[stream] = cfg
            elif cfg is not None:
                cfg = dict(type='TimeEncoder') | cfg
                self.time_encoders[stream] = MODELS.build(cfg)
                self.encoder_of[stream] = stream
        owners = {*self.encoder_of.values(), *time_encoders}
        if wrong := owners - set(self.time_encoders):
            raise ValueError(
                f'time_encoders names {sorted(wrong)}, but the input streams '
                f'are {sorted(set(inputs.values()))} and those with an '
                f'encoder of their own {sorted(self.time_encoders)}'
            )
        self.exchange, self.missing_inputs = exchange, missing_inputs
        self.frozen_dtype = getattr(torch, frozen_dtype)
        self.activations = activations

    def forward(
        self,
        imgs: Stream | Tensor | None = None,
        *,
        experts: Collection[str] | None = None,
        return_tokens: Collection[int] | bool = False,
        return_attention: Collection[int] | bool = False,
        attention_head: int | None = None,
        **streams: Stream | Tensor,
    ) -> dict[str, Tensor | Stream] | BackboneOutput:
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
            streams: The other input streams by name, such as ``audios``; as
                :class:`~ca2st_mm.structures.Stream` with their times
                (seconds) and presence (B,), or their values alone.

        Returns:
            Feature (B, C) by expert; where a stream has presence, a
            ``Stream`` of the feature and its presence (B, 1).  If tokens or
            attention are asked for, a :class:`BackboneOutput` with these.

        Raises:
            KeyError: If an input is missing and may not be.
            ValueError: If there is no such expert, layer or head, or the
                frozen weights need autocast and it is off.
        """
        if imgs is not None:
            streams = dict(imgs=imgs, **streams)
        streams = as_streams(streams)
        self._check_precision()
        names = self._active_experts(streams, experts)
        check_frames(
            {n: self.experts[n] for n in names},
            {n: streams[self.inputs[n]].values for n in names},
        )
        token_layers = self._layers(return_tokens)
        attention_layers = self._layers(return_attention)
        recorded: dict[tuple[str, str, int], RecordingAttention] = {}

        def attention_for(
            query: str, context: str, layer: int, axis: str | None
        ) -> AttentionFn:
            if layer not in attention_layers:
                return fused_attention
            recording = RecordingAttention(attention_head, axis)
            recorded[query, context, layer] = recording
            return recording

        time_codes, present = self._time_codes(names, streams), {}
        tokens, tokens_after = {}, {}
        contexts = {}  # rotary positions and biases of self-attention
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
                tokens[name] = self._run(
                    expert.forward_attn, tokens[name], layer, **options
                )
            # Skip this on a first reading: in the last layer, patches that no
            # feature is made of are left out, which saves time and memory
            # and changes no feature.
            keep_patches = (
                layer < self.num_layers - 1
                or layer in token_layers | attention_layers
            )
            tokens = self._run_links(
                tokens,
                layer,
                keep_patches,
                time_codes,
                present,
                attention_for,
            )
            for name in names:
                tokens[name] = self._run(
                    self.experts[name].forward_ffn, tokens[name], layer
                )
                if layer in token_layers:
                    tokens_after[name, layer] = tokens[name]
        features = {}
        for name in names:
            features[name] = self.experts[name].pool(tokens[name])  # (B, C)
            if name in present:
                factor = present[name].flatten(1)  # (B, 1)
                features[name] = Stream(features[name], present=factor)
        if not (token_layers or attention_layers):
            return features
        rows = len(next(iter(streams.values())).values)
        attention = {
            experts_and_layer: AttentionWeights(
                recording.axis, recording.weights.unflatten(0, (rows, -1))
            )
            for experts_and_layer, recording in recorded.items()
            if recording.weights is not None  # None: direction left out
        }
        return BackboneOutput(features, tokens_after, attention)

    def _run(self, part: Callable, *inputs: Any, **options: Any) -> Any:
        """Call a block or a link, as ``activations`` says."""
        if self.activations == 'store':
            return part(*inputs, **options)
        # The reentrant kind would lose the gradients of the first layer,
        # whose tokens come from frozen embeddings and need none.
        return checkpoint(part, *inputs, use_reentrant=False, **options)

    def _check_precision(self) -> None:
        """Refuse frozen weights of another type where nothing casts them."""
        kind = next(self.parameters()).device.type
        if (
            self.frozen_dtype == torch.float32
            or kind == 'meta'
            or torch.is_autocast_enabled(kind)
        ):
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
    ) -> ByExpert:
        """Time codes by expert, (B, T, N or 1, width).

        Times of the stream (seconds) -> span of each patch, its start and
        end -> its code.
        """
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
        tokens: ByExpert,
        layer: int,
        keep_patches: bool,
        time_codes: ByExpert,
        present: ByExpert,
        attention_for: Callable[[str, str, int, str | None], AttentionFn],
    ) -> ByExpert:
        """Tokens after the links of a layer.

        Unless ``keep_patches``, experts whose feature is made of prefix
        tokens alone keep these alone, (B, T, P, C).  ``present`` is
        (B, 1, 1, 1) by expert, 0 for samples without its input.
        """
        links = {
            (a, b): self.links[layer][key]
            for key, a, b in self.pairs[layer]
            if a in tokens and b in tokens
        }
        # Links without `axes` (third-party) always get all patches.
        keep_patches |= not all(
            hasattr(link, 'axes') for link in links.values()
        )
        # What the last layer may leave out; before it, all are used.
        patches_used = {
            name: keep_patches
            or getattr(self.experts[name], 'pools_patches', True)
            for name in tokens
        }
        update_patches = self._update_patches(links, patches_used)
        sequential = self.exchange == 'sequential'
        after, sums, counts = dict(tokens), {}, {}
        for (a, b), link in links.items():
            before, options = after if sequential else tokens, {}
            if hasattr(link, 'axes'):
                options['update_patches'] = update_patches[a, b]
                options['attend'] = (
                    attention_for(a, b, layer, link.axes[0]),
                    attention_for(b, a, layer, link.axes[1]),
                )
            updates = self._run(
                link,
                before[a],
                before[b],
                time_codes.get(a),
                time_codes.get(b),
                **options,
            )
            for name, other, update in zip(
                (a, b), (b, a), updates, strict=True
            ):
                if update is None:
                    continue
                factor = present.get(other, 1)
                if other in present:
                    update = update * factor
                if sequential:
                    after[name] = _add(after[name], update)
                else:
                    sums[name] = sums.get(name, 0) + update
                    counts[name] = counts.get(name, 0) + factor
        for name in tokens:
            if name in sums:
                mean = sums[name] / at_least_one(counts[name])
                after[name] = _add(after[name], mean)
            if not patches_used[name]:
                prefix = self.experts[name].token_spec.num_prefix_tokens
                after[name] = after[name][:, :, :prefix]
        return after

    def _update_patches(
        self,
        links: Mapping[tuple[str, str], Link],
        patches_used: Mapping[str, bool],
    ) -> dict[tuple[str, str], tuple[bool, bool]]:
        """The ``update_patches`` of each link, see :class:`.links.Link`.

        CLIP and AST pool their prefix tokens only, and these attend to
        nothing in a link.  So in the last layer whole directions of links,
        and what happens to those patches afterwards, reach no feature.
        ``patches_used`` says whether anything after the links uses the
        patches of an expert.
        """
        patches_used, update_patches = dict(patches_used), {}
        for (a, b), link in reversed(links.items()):
            axis_a, axis_b = getattr(link, 'axes', ('all', 'all'))
            to_a = patches_used[a] and axis_a is not None
            to_b = patches_used[b] and axis_b is not None
            update_patches[a, b] = to_a, to_b
            # This link uses what earlier ones update, unless all of them get
            # the same tokens.
            if self.exchange == 'sequential':
                patches_used[a] |= to_b
                patches_used[b] |= to_a
        return update_patches


def _add(tokens: Tensor, update: Tensor) -> Tensor:
    # An update of prefix tokens alone says that the patches are not needed.
    # A slice of all would cost zeros and a copy in the backward pass.
    if update.shape[2] < tokens.shape[2]:
        tokens = tokens[:, :, : update.shape[2]]
    return tokens + update
