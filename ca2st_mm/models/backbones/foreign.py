# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Transformers of other libraries as experts, and the strings that name them.

A :class:`Family` says where the two parts of a published layer are;
:class:`ForeignExpert` runs them with our adapters.  The model stays whole,
with its own parameter names, under ``backbone``.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import WARNING
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ca2st_mm import zoo
from ca2st_mm.checkpoints.files import CheckpointError, unwrap
from ca2st_mm.checkpoints.loading import open_checkpoint, require_finite
from ca2st_mm.utils.errors import UsageError

from ..layers.tokens import TokenGrid, TokenSpec
from ..layers.transformer import (
    Adapter,
    AttentionFn,
    DropPath,
    ResidualAdapter,
    drop_path_rates,
    fused_attention,
)
from .expert import TransformerExpert, frame_spans, select_frames

RECIPE = 'docs/experts.md'  # how to add an architecture
# Expert by the library that a string begins with.
LIBRARIES = {'timm': 'TimmExpert', 'hf': 'HFExpert'}
LOCAL = 'local-dir:'
STRINGS = (LOCAL, *(f'{library}:' for library in LIBRARIES))


class Sizes(NamedTuple):
    """What a model reads and how many tokens it makes of it.

    Attributes:
        embed_dims: Channels C.
        shape: Of one input without the batch: a frame (3, H, W), a clip
            (3, frames, H, W) or a spectrogram (1, frames, mels).
        grid: Rows and columns of the patches of one time step.
        patch: Side of a patch.
        num_steps: Time steps T; of a frame 1.
        num_prefix_tokens: Prefix tokens P.
        stride: From patch to patch; None for patches side by side.
        pools_patches: False if the feature is made of prefix tokens alone.

    Example:
        >>> Sizes(768, (3, 16, 224, 224), (14, 14), 16, num_steps=8).grid
        (14, 14)
    """

    embed_dims: int
    shape: tuple[int, ...]
    grid: tuple[int, int]
    patch: int
    num_steps: int = 1
    num_prefix_tokens: int = 0
    stride: int | None = None
    pools_patches: bool = True


class Family:
    """How models of one architecture begin, attend, end: no state of its own.

    ``x`` is (B, L, C), tokens of one sequence: of a frame for models that
    read single frames, else of the whole input, time-major after the prefix.
    In both parts ``adapt`` takes the branch as the block adds it to its
    input, and returns it with our adapter.  Where the norms stand, before
    the branch (as here), after it or after the sum, is up to the part.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> block = nn.ModuleDict(dict(norm1=nn.Identity(),
        ...                            attn=nn.Identity()))
        >>> x = torch.ones(1, 1, 2)
        >>> Family().attention(block, x, lambda branch: 3 * branch, None)
        tensor([[[4., 4.]]])
    """

    reads = 'frames'  # or 'clip', 'audio'
    # Names of modules: in the model, then in a block for each of its parts,
    # before, in and after (`behind`) the branch; '' for none.
    layers, ends_with = 'blocks', ('norm',)
    norms = ('norm1', 'norm2')
    attn, mlp = 'attn', 'mlp'
    behind: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def sizes(self, model: nn.Module, img_size: int | None = None) -> Sizes:
        """What the model reads; ``img_size`` if another one was asked for."""
        raise NotImplementedError

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The layers."""
        return model.get_submodule(self.layers)

    def ends(self, model: nn.Module) -> Iterable[nn.Module]:
        """The final modules, after the last layer: norms, a pooling head."""
        return map(model.get_submodule, self.ends_with)

    def embed(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Frames (B * T, 3, H, W) or whole inputs -> x, prefix first."""
        raise NotImplementedError

    def context(self, model: nn.Module, tokens: Tensor) -> Any:
        """What attention uses besides tokens, such as rotary positions.

        Computed once per pass, of the shape, type and device of the tokens:
        an entry for each block, or None.
        """

    def attention(
        self,
        block: nn.Module,
        x: Tensor,
        adapt: Callable[[Tensor], Tensor],
        context: Any,
    ) -> Tensor:
        """Attention part of a block; (B, L, C) -> same.

        ``context`` is the entry of the block.
        """
        branch = self.attend(block, through(block, self.norms[:1], x), context)
        return x + adapt(through(block, self.behind[0], branch))

    def attend(self, block: nn.Module, x: Tensor, context: Any) -> Tensor:
        """The attention of a block alone."""
        out = getattr(block, self.attn)(x)
        return out[0] if isinstance(out, tuple) else out

    def ffn(
        self,
        block: nn.Module,
        x: Tensor,
        adapt: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Feed-forward part; any (..., C) -> same.

        ``adapt`` also takes what the feed-forward network read.
        """
        normed = through(block, self.norms[1:], x)
        branch = getattr(block, self.mlp)(normed)
        return x + adapt(through(block, self.behind[1], branch), normed)

    def pool(self, model: nn.Module, x: Tensor) -> Tensor:
        """x that left the last layer -> the model's own feature (B, C)."""
        raise NotImplementedError

    def token_times(self, sizes: Sizes, times: Tensor) -> Tensor:
        """Times of the input -> span of every token (B, T, N or 1, 2)."""
        return frame_spans(times, sizes.num_steps)


def through(block: nn.Module, names: Sequence[str], x: Tensor) -> Tensor:
    """x through parts of a block that it has; parameters scale it."""
    for name in names:
        part = getattr(block, name, None)
        if part is not None:
            x = part * x if isinstance(part, Tensor) else part(x)
    return x


def window_spans(times: Tensor, parts: int) -> Tensor:
    """Window (B, 2), start and end -> spans of equal parts (B, parts, 2)."""
    start, end = times[:, :1], times[:, 1:]
    length = (end - start) / parts
    left = start + torch.arange(parts, device=times.device) * length
    return torch.stack((left, left + length), dim=-1)


class AttentionBy(TorchFunctionMode):
    """Has other libraries compute attention by a function of ours.

    They call PyTorch's ``scaled_dot_product_attention``; only calls of this
    thread inside of the context are taken.
    """

    def __init__(self, attend: AttentionFn) -> None:
        super().__init__()
        self.attend = attend

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        names = ('query', 'key', 'value', 'attn_mask')
        given = dict(zip(names, args, strict=False)) | kwargs
        query = given['query']
        if given.get('scale') is not None:
            query = query * given['scale'] * query.shape[-1] ** 0.5
        bias = given.get('attn_mask')
        return self.attend(query, given['key'], given['value'], bias)


class ForeignExpert(TransformerExpert):
    """A model of another library, frozen, with adapters of ours.

    A frozen model stays in eval mode.  Links exchange between the parts of
    the last block of each layer.

    Args:
        family: How the model is run.
        backbone: The model.
        num_frames: For models that read single frames, how many (T); None
            lets a multi-expert backbone choose as many as other experts
            have time steps, and means 8 alone.
        frame_stride: For these, reads the last of every ``frame_stride``
            frames.
        img_size: Side of the frames, if the model adapts its positions.
        input_size: For models that read single frames, the side of the
            frames in the batch; they are resized, bilinear, to the model's
            own.  None: the same.
        adapter_ratio: Hidden width of the adapters / C; None builds none.
        frozen_parts: Parts that get no gradient, of embed, layers, adapters
            and norm (all that follows the last layer).
        drop_path_rate: Stochastic depth of the FFN adapter, last layer.
        blocks_per_layer: Blocks that count as one layer, such as 2 of an
            expert of 24 blocks linked with one of 12.
        start_block: Blocks that run before the first layer.
        init_cfg: Pretrained weights; see :class:`TransformerExpert`.

    Raises:
        ValueError: If the blocks do not split into layers, or a part is
            unknown.

    Example:
        >>> from ca2st_mm.models.backbones import TimmExpert
        >>> expert = TimmExpert('vit_tiny_patch16_224', pretrained=False,
        ...                     blocks_per_layer=2)
        >>> len(expert.backbone.blocks), expert.num_layers
        (12, 6)
    """

    def __init__(
        self,
        family: Family,
        backbone: nn.Module,
        num_frames: int | None = None,
        frame_stride: int = 1,
        img_size: int | None = None,
        input_size: int | None = None,
        adapter_ratio: float | None = 0.25,
        frozen_parts: Sequence[str] = ('embed', 'layers', 'norm'),
        drop_path_rate: float = 0.0,
        blocks_per_layer: int = 1,
        start_block: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.family, self.backbone = family, backbone
        self.sizes = sizes = family.sizes(backbone, img_size)
        self.pools_patches = sizes.pools_patches
        depth, name = len(family.blocks(backbone)), type(self).__name__
        self.start_block, self.blocks_per_layer = start_block, blocks_per_layer
        self.num_layers, rest = divmod(depth - start_block, blocks_per_layer)
        if rest or start_block < 0 or self.num_layers < 1:
            raise UsageError(
                f'{depth} blocks of {name} from block {start_block} on do not '
                f'split into layers of {blocks_per_layer}'
            )
        self.input_size, self.axis = input_size, 'all'
        self.frames_unset = family.reads == 'frames' and num_frames is None
        if family.reads == 'frames':
            self.axis = 'space'
            self.read_frames(num_frames or 8, frame_stride)
        elif num_frames or frame_stride != 1 or input_size:
            raise UsageError(
                f'{name} reads all of {sizes.shape}: num_frames, frame_stride '
                'and input_size are for models of single frames'
            )
        else:
            self.input_shape = sizes.shape
            self.token_spec = self._spec(sizes.num_steps)
        if family.reads == 'clip' and sizes.num_prefix_tokens:
            self.axis = None  # one prefix for all steps is in no record
        (rows, columns), patch = sizes.grid, sizes.patch
        if family.reads != 'audio':
            *frames, height, width = sizes.shape[1:]
            if sum(frames) % sizes.num_steps or (height, width) != (
                rows * patch,
                columns * patch,
            ):
                raise UsageError(
                    f'{name}: {sizes.num_steps} steps of {rows} x {columns} '
                    f'patches of {patch} px leave out a part of inputs '
                    f'{sizes.shape}'
                )
        self.token_grid = TokenGrid(
            rows,
            columns,
            patch,
            sizes.stride or patch,
            'spectrogram' if family.reads == 'audio' else 'image',
        )
        dims, ratio = sizes.embed_dims, adapter_ratio
        self.adapters = nn.ModuleList()
        for rate in drop_path_rates(drop_path_rate, depth):
            adapters = nn.ModuleDict()
            if ratio is not None:
                adapters['attention'] = ResidualAdapter(dims, ratio=ratio)
                adapters['ffn'] = Adapter(dims, ratio=ratio)
                adapters['drop_path'] = DropPath(rate)
            self.adapters.append(adapters)
        self.freeze(frozen_parts)

    def _spec(self, num_steps: int) -> TokenSpec:
        rows, columns = self.sizes.grid
        return TokenSpec(
            self.sizes.embed_dims,
            num_steps,
            rows * columns,
            self.sizes.num_prefix_tokens,
        )

    def read_frames(self, num_frames: int, frame_stride: int) -> None:
        """Choose the frames that an expert of single frames reads."""
        self.num_frames, self.frame_stride = num_frames, frame_stride
        channels, *size = self.sizes.shape
        if self.input_size is not None:
            size = [self.input_size] * 2
        self.input_shape = (channels, num_frames * frame_stride, *size)
        self.token_spec = self._spec(num_frames)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part: embed, layers, adapters and norm."""
        final = nn.ModuleList(self.family.ends(self.backbone))
        parts = dict(
            layers=list(self.family.blocks(self.backbone).parameters()),
            adapters=list(self.adapters.parameters()),
            norm=list(final.parameters()),
        )
        known = {id(p) for part in parts.values() for p in part}
        parts['embed'] = [p for p in self.parameters() if id(p) not in known]
        return parts

    def layer_of_parameters(self) -> dict[int, int]:
        """Layer by ``id`` of a parameter in it; -1 before the first."""
        layers = {}
        blocks = self.family.blocks(self.backbone)
        for i, both in enumerate(zip(blocks, self.adapters, strict=True)):
            layer = (i - self.start_block) // self.blocks_per_layer
            for part in both:
                for parameter in part.parameters():
                    layers[id(parameter)] = max(layer, -1)
        return layers

    def train(self, mode: bool = True) -> 'ForeignExpert':
        """Set the mode; a frozen model stays in eval mode."""
        super().train(mode)
        if 'layers' in self.frozen_parts:
            # Some draw at random in training: drop path, DINOv3's positions.
            self.backbone.eval()
        return self

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take names of the bare model as well as our own."""
        if not any(key.startswith('backbone.') for key in state_dict):
            for key in list(state_dict):
                state_dict[f'backbone.{key}'] = state_dict.pop(key)

    def published(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model with published weights, as its library makes it."""
        raise NotImplementedError

    def weights_of(self, source: str) -> str | Path:
        """Where the weights are that a string names."""
        return fetched(source)

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names, if any.

        Raises:
            FileNotFoundError: If they are not there.
            ZooError: If they cannot be fetched.
            CheckpointError: If a tensor is missing, too many, of another
                shape, or not finite.
        """
        if self.init_cfg is None and not self.is_init:
            print_log(
                f'{type(self).__name__}: no weights are named, so the frozen '
                'ones are random',
                logger='current',
                level=WARNING,
            )
        init_cfg = self.init_cfg or {}
        source = init_cfg.get('checkpoint')
        if self.is_init or source is None or init_cfg.get('prefix'):
            super().init_weights()
            return
        place = source
        if source.startswith(STRINGS):
            place = self.weights_of(source)
        weights = unwrap(open_checkpoint(place))
        if any(key.startswith('backbone.') for key in weights):  # our names
            super().init_weights()
            return
        count, kinds = len(weights), {v.dtype for v in weights.values()}
        try:
            require_finite(weights)
            with torch.device('cpu'):
                model = self.published(weights)
            self.backbone.load_state_dict(model.state_dict())
        except (RuntimeError, ValueError) as error:
            said = ' '.join(str(error).split())
            said = said if len(said) < 240 else f'{said[:240]}...'
            raise CheckpointError(
                f'{source!r} is not a checkpoint of this '
                f'{type(self).__name__}: {said}'
            ) from error
        half = kinds & {torch.float16, torch.bfloat16}
        note = f', stored in {half.pop()}, kept in float32' if half else ''
        print_log(
            f'{type(self).__name__}: loaded {count} tensors of {source!r}'
            f'{note}',
            logger='current',
        )
        self._is_init = True

    def _gather(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, P + N, C) as sequences of the model."""
        if self.family.reads == 'frames':
            return tokens.flatten(0, 1)
        prefix = self.token_spec.num_prefix_tokens
        if not prefix or self.token_spec.num_steps == 1:
            return tokens.flatten(1, 2)
        # The model has one prefix for the clip: the steps hold copies.
        shared = tokens[:, :, :prefix].mean(dim=1)
        return torch.cat((shared, tokens[:, :, prefix:].flatten(1, 2)), dim=1)

    def _spread(self, x: Tensor) -> Tensor:
        """Sequences of the model as tokens (B, T, P + N, C)."""
        steps, prefix = self.token_spec.num_steps, self.sizes.num_prefix_tokens
        if self.family.reads == 'frames':
            return x.unflatten(0, (-1, steps))
        patches = x[:, prefix:].unflatten(1, (steps, -1))
        if not prefix:
            return patches
        copies = x[:, None, :prefix].expand(-1, steps, -1, -1)
        return torch.cat((copies, patches), dim=2)

    def embed(self, inputs: Tensor) -> Tensor:
        """Inputs ``(B, *input_shape)`` -> tokens (B, T, P + N, C).

        Images (B, 3, H, W) are clips of one frame.

        Raises:
            ValueError: If the inputs have another shape.
        """
        if self.family.reads == 'frames':
            inputs = select_frames(self, inputs)  # (B, 3, T, H, W)
        expected = list(self.input_shape)
        if self.family.reads == 'frames':
            expected[1] = self.num_frames
        if list(inputs.shape[1:]) != expected:
            raise UsageError(
                f'{type(self).__name__} expects inputs (B, *'
                f'{tuple(expected)}), got {tuple(inputs.shape)}'
            )
        if self.family.reads == 'frames':
            inputs = inputs.transpose(1, 2).flatten(0, 1)
            if self.input_size is not None:
                size = self.sizes.shape[1:]
                inputs = F.interpolate(inputs, size, mode='bilinear')
        tokens = self._spread(self.family.embed(self.backbone, inputs))
        if self.start_block:
            blocks = range(self.start_block)
            tokens = self._run(tokens, blocks, self.context(tokens))
        return tokens

    def context(self, tokens: Tensor) -> Any:
        """What the attention of all layers uses besides tokens."""
        return self.family.context(self.backbone, tokens)

    def forward_attn(
        self,
        tokens: Tensor,
        layer: int,
        attend: AttentionFn = fused_attention,
        context: Any = None,
    ) -> Tensor:
        """All of a layer but the feed-forward part of its last block.

        (B, T, P + N, C) -> same.  ``attend`` computes the attention of the
        last block.
        """
        if context is None:
            context = self.context(tokens)
        last = self.start_block + (layer + 1) * self.blocks_per_layer - 1
        blocks = range(last - self.blocks_per_layer + 1, last)
        tokens = self._run(tokens, blocks, context)
        if attend is fused_attention:
            return self._attention(tokens, last, context)
        with AttentionBy(attend):
            return self._attention(tokens, last, context)

    def forward_ffn(self, tokens: Tensor, layer: int) -> Tensor:
        """The rest of a layer; (B, T, P + N, C) -> same."""
        last = self.start_block + (layer + 1) * self.blocks_per_layer - 1
        return self._ffn(tokens, last)

    def _run(self, tokens: Tensor, blocks: range, context: Any) -> Tensor:
        for block in blocks:
            tokens = self._ffn(self._attention(tokens, block, context), block)
        return tokens

    def _attention(self, tokens: Tensor, block: int, context: Any) -> Tensor:
        adapters = self.adapters[block]
        x = self.family.attention(
            self.family.blocks(self.backbone)[block],
            self._gather(tokens),
            adapters['attention'] if adapters else lambda branch: branch,
            None if context is None else context[block],
        )
        return self._spread(x)

    def _ffn(self, tokens: Tensor, block: int) -> Tensor:
        adapters = self.adapters[block]

        def adapt(branch: Tensor, normed: Tensor) -> Tensor:
            if not adapters:
                return branch
            parallel = adapters['ffn'](normed)
            return branch + 0.5 * adapters['drop_path'](parallel)

        return self.family.ffn(
            self.family.blocks(self.backbone)[block], tokens, adapt
        )

    def pool(self, tokens: Tensor) -> Tensor:
        """The model's own feature, for frames their mean: -> (B, C)."""
        feature = self.family.pool(self.backbone, self._gather(tokens))
        if self.family.reads == 'frames':
            feature = feature.unflatten(0, (-1, self.num_frames)).mean(dim=1)
        return feature

    def token_times(self, times: Tensor) -> Tensor:
        """Times of the input -> span of every token (B, T, N or 1, 2)."""
        sizes = self.sizes._replace(num_steps=self.token_spec.num_steps)
        return self.family.token_times(sizes, times)


def expert_config(cfg: str | Mapping) -> Mapping:
    """The config of an expert, which may be given by one string.

    Args:
        cfg: ``timm:NAME``, ``hf:OWNER/NAME@REVISION``, ``local-dir:PATH`` or
            a path (a folder of either library); or a config, which needs no
            ``type`` if its ``model`` is such a string.

    Raises:
        UsageError: If the string has none of these forms, or the folder
            holds no model.

    Example:
        >>> expert_config('timm:vit_base_patch16_224')
        {'type': 'TimmExpert', 'model': 'timm:vit_base_patch16_224'}
    """
    if not isinstance(cfg, str):
        if 'type' in cfg or not isinstance(cfg.get('model'), str):
            return cfg
        return {**expert_config(cfg['model']), **cfg}
    if Path(cfg).is_dir():
        cfg = f'{LOCAL}{cfg}'
    library, _, name = cfg.partition(':')
    if cfg.startswith(LOCAL):
        _, config = read_config(cfg)
        library = 'hf' if 'model_type' in config else 'timm'
    if library not in LIBRARIES or not name:
        raise UsageError(
            "an expert by one string is 'timm:NAME', "
            "'hf:OWNER/NAME@REVISION' or 'local-dir:PATH', got "
            f'{cfg!r}'
        )
    return dict(type=LIBRARIES[library], model=cfg)


def fetched(source: str, file: str = '') -> Path:
    """The folder of a model, or its file on the Hub, fetched if need be.

    The source is ``local-dir:PATH``, ``hf:OWNER/NAME@REVISION`` or
    ``timm:hf-hub:OWNER/NAME@REVISION``; without ``file``, its weights.
    """
    if source.startswith(LOCAL):
        if source == LOCAL:
            raise UsageError('an expert by an empty path; name its folder')
        return Path(source.removeprefix(LOCAL)).expanduser()
    repository = re.sub('^(timm:)?(hf-hub:|hf:(//)?)', '', source)
    if repository.count('/') != 1:
        raise UsageError(
            f'{source!r} names no repository; write hf:OWNER/NAME@REVISION'
        )
    try:
        return zoo.fetch('/'.join(filter(None, ('hf:/', repository, file))))
    except zoo.ZooError as error:
        raise zoo.ZooError(f"{error} as 'local-dir:PATH'") from error


def read_config(source: str) -> tuple[Path, dict]:
    """The folder with the ``config.json`` of a model, and what that says.

    The source is as for :func:`fetched`.
    """
    folder = fetched(source, 'config.json')
    folder = folder if folder.is_dir() else folder.parent
    file = folder / 'config.json'
    if not file.is_file():
        raise UsageError(
            f'{source} needs a folder that timm or transformers wrote; there '
            f'is no file {str(file)!r}'
        )
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise UsageError(f'{str(file)!r} is no JSON: {error}') from error
    if not {'model_type', 'architecture'} & set(config):
        raise UsageError(
            f'{str(file)!r} names neither a model_type (transformers) nor an '
            'architecture (timm)'
        )
    return folder, config


def agree_on_frames(
    experts: Mapping[str, Any],
    inputs: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
) -> None:
    """Let experts of single frames read one per time step of another.

    Experts without ``num_frames`` are changed; they follow a linked one
    (``pairs``), or else one of the same stream (``inputs``).
    """
    unset = [n for n, e in experts.items() if getattr(e, 'frames_unset', 0)]
    linked = [pair for a, b in pairs for pair in ((a, b), (b, a))]
    for name in unset:
        partners = [b for a, b in linked if a == name]
        for other in dict.fromkeys([*partners, *experts]):
            shape = getattr(experts[other], 'input_shape', ())
            is_clip = len(shape) == 4 and inputs[other] == inputs[name]
            if is_clip and other not in unset:
                steps = experts[other].token_spec.num_steps
                experts[name].read_frames(steps, shape[1] // steps)
                break


def check_frames(
    experts: Mapping[str, Any], clips: Mapping[str, Tensor]
) -> None:
    """Raise ``UsageError`` if an expert reads longer or shorter clips."""
    # First those with frames of their own, which the others follow.
    for name in sorted(
        experts, key=lambda n: getattr(experts[n], 'frames_unset', False)
    ):
        wanted = getattr(experts[name], 'input_shape', ())[1:]
        given = tuple(clips[name].shape[2:])
        if len(given) == len(wanted) == 3 and given[0] != wanted[0]:
            raise UsageError(
                f'the expert {name!r} ({type(experts[name]).__name__}) reads '
                f'clips of {wanted[0]} frames, but these have {given[0]}; set '
                f'clip_len={wanted[0]} in the pipeline, or num_frames of the '
                'expert'
            )
