# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Transformers of Hugging Face's ``transformers`` as experts."""

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.checkpoints.files import CheckpointError
from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import UsageError

from .foreign import (
    RECIPE,
    STRINGS,
    Family,
    ForeignExpert,
    Sizes,
    read_config,
    window_spans,
)


class HFFamily(Family):
    """Models of one ``model_type``.

    Attributes:
        model_class: Name of the class in ``transformers``; None for its
            class without a head.
        options: What its constructor takes besides the config.
        settings: Entry of the config by the argument that sets it.
        optional: Beginnings of names that a file may lack.

    Example:
        >>> FAMILIES['vjepa2'].settings['img_size']
        'crop_size'
    """

    model_class: str | None = None
    options: Mapping[str, Any] = {}
    settings: Mapping[str, str] = {}
    optional: tuple[str, ...] = ()

    def part(self, model: nn.Module) -> nn.Module:
        """What is kept of the class's model."""
        return model


class CLIP(HFFamily):
    """Image encoder of CLIP; resizes its positions to other frames."""

    has_class_token = True
    layers, ends_with = 'encoder.layers', ('post_layernorm',)
    norms = ('layer_norm1', 'layer_norm2')
    attn = 'self_attn'

    def sizes(self, model, img_size=None):
        config = model.config
        size = img_size or config.image_size
        side = size // config.patch_size
        registers = getattr(config, 'num_register_tokens', 0)
        return Sizes(
            config.hidden_size,
            (3, size, size),
            (side, side),
            config.patch_size,
            num_prefix_tokens=self.has_class_token + registers,
            pools_patches=not self.has_class_token,
        )

    def embed(self, model, inputs):
        return model.pre_layrnorm(self.embeddings(model, inputs))

    @staticmethod
    def embeddings(model, inputs):
        """Patches and positions, resized where the frames are."""
        resized = inputs.shape[-1] != model.config.image_size
        return model.embeddings(inputs, interpolate_pos_encoding=resized)

    def pool(self, model, x):
        [norm] = self.ends(model)
        return norm(x[:, 0])


class SigLIP(CLIP):
    """Image encoder of SigLIP, and of SigLIP 2 of a fixed size."""

    has_class_token = False

    def ends(self, model):
        return [model.post_layernorm] + ([model.head] * model.use_head)

    def embed(self, model, inputs):
        return self.embeddings(model, inputs)

    def pool(self, model, x):
        x = model.post_layernorm(x)
        return model.head(x) if model.use_head else x.mean(dim=1)


class DINOv2(CLIP):
    """DINOv2, with or without registers."""

    layers, ends_with = 'encoder.layer', ('layernorm',)
    norms = HFFamily.norms
    attn = 'attention'
    behind = ('layer_scale1', 'drop_path'), ('layer_scale2', 'drop_path')

    def embed(self, model, inputs):
        return model.embeddings(inputs)


class DINOv3(DINOv2):
    """DINOv3's ViTs: rotary positions go to every attention."""

    layers, ends_with = 'model.layer', ('norm',)

    def context(self, model, tokens):
        config = model.config
        patches = tokens.shape[2] - 1 - config.num_register_tokens
        size = round(patches**0.5) * config.patch_size
        positions = model.rope_embeddings(tokens.new_zeros(1, 3, size, size))
        return [positions] * len(model.model.layer)

    def attend(self, block, x, context):
        return block.attention(x, position_embeddings=context)[0]


class ViT(CLIP):
    """The original ViT; resizes its positions to other frames."""

    options = dict(add_pooling_layer=False)
    layers, ends_with = 'layers', ('layernorm',)
    norms = ('layernorm_before', 'layernorm_after')
    attn = 'attention'
    behind = ('dropout',), ('dropout',)
    embed = SigLIP.embed


class VJEPA2(HFFamily):
    """Encoder of V-JEPA 2; its rotary positions are inside the attention."""

    reads = 'clip'
    settings = dict(num_frames='frames_per_clip', img_size='crop_size')
    layers, ends_with = 'layer', ('layernorm',)
    attn = 'attention'
    behind = ('drop_path',), ('drop_path',)

    def part(self, model):
        return model.encoder  # the rest predicts masked tokens

    def sizes(self, model, img_size=None):
        config = model.config
        frames, size = (getattr(config, k) for k in self.settings.values())
        if hasattr(config, 'patch_size'):
            tubelet, patch = config.tubelet_size, config.patch_size
        else:  # ViViT's
            tubelet, patch, _ = config.tubelet_size
        side = size // patch
        shape = (3, frames, size, size)
        steps = frames // tubelet
        return Sizes(config.hidden_size, shape, (side, side), patch, steps)

    def embed(self, model, inputs):
        return model.embeddings(inputs.transpose(1, 2))

    def pool(self, model, x):
        return model.layernorm(x).mean(dim=1)


class ViViT(VJEPA2):
    """ViViT of joint attention; one class token for the clip."""

    options = ViT.options
    settings = dict(num_frames='num_frames', img_size='image_size')
    layers, norms, behind = ViT.layers, ViT.norms, ViT.behind
    part, pool = HFFamily.part, CLIP.pool

    def sizes(self, model, img_size=None):
        sizes = super().sizes(model)
        return sizes._replace(num_prefix_tokens=1, pools_patches=False)


class VideoMAE(VJEPA2):
    """VideoMAE; its file has a norm if it was fine-tuned."""

    model_class = 'VideoMAEForVideoClassification'
    settings = ViViT.settings
    optional = ('fc_norm.', 'classifier.')
    layers, norms, behind = 'videomae.encoder.layer', ViT.norms, ((), ())

    def part(self, model):
        model.classifier = nn.Identity()
        return model

    def ends(self, model):
        norms = (model.videomae.layernorm, model.fc_norm)
        return [norm for norm in norms if norm is not None]

    def embed(self, model, inputs):
        return model.videomae.embeddings(inputs.transpose(1, 2), None)

    def ffn(self, block, x, adapt):
        normed = block.layernorm_after(x)
        # Its last part adds the residual itself.
        branch = block.output(block.intermediate(normed), x.new_zeros(()))
        return x + adapt(branch, normed)

    def pool(self, model, x):
        if model.fc_norm is not None:
            return model.fc_norm(x.mean(dim=1))
        return model.videomae.layernorm(x)[:, 0]


class AST(ViT):
    """Audio Spectrogram Transformer; patches frequency-major, one step."""

    options = {}
    reads = 'audio'

    def sizes(self, model, img_size=None):
        config = model.config
        return Sizes(
            config.hidden_size,
            (1, config.max_length, config.num_mel_bins),
            tuple(model.embeddings.get_shape(config)),
            config.patch_size,
            num_prefix_tokens=2,
            stride=config.time_stride,
            pools_patches=False,
        )

    def embed(self, model, inputs):
        return model.embeddings(inputs.squeeze(1))

    def pool(self, model, x):
        return model.layernorm(x[:, :2]).mean(dim=1)

    def token_times(self, sizes, times):
        rows, columns = sizes.grid
        return window_spans(times, columns).repeat(1, rows, 1)[:, None]


# By `model_type`.
FAMILIES: dict[str, type[HFFamily]] = {
    'audio-spectrogram-transformer': AST,
    'clip_vision_model': CLIP,
    'dinov2': DINOv2,
    'dinov2_with_registers': DINOv2,
    'dinov3_vit': DINOv3,
    'siglip_vision_model': SigLIP,
    'videomae': VideoMAE,
    'vit': ViT,
    'vivit': ViViT,
    'vjepa2': VJEPA2,
}


@MODELS.register_module()
class HFExpert(ForeignExpert):
    """A model of ``transformers``, frozen, with adapters.

    The weights are loaded by ``init_weights``, strictly and as float32, not
    when it is built.  Building reads the config only: from the Hub's cache or
    the Hub, from the folder, or from ``config``.

    Args:
        model: 'OWNER/NAME@REVISION' on the Hub, with or without a leading
            'hf:', or 'local-dir:PATH'; None for ``config`` and random
            weights.
        config: The architecture, ``dict(model_type=..., ...)``; None for that
            of ``model``.
        num_frames: Frames of a clip, or of a model of single frames T, or
            samples of a speech model's waveform (160000, 10 s).
        img_size: Side of the frames in pixels; None for the model's own.
        pretrained: False leaves the weights random.
        init_cfg: Weights in a file of yours instead of those of ``model``.
        **options: ``frame_stride``, ``adapter_ratio`` and others of
            :class:`ForeignExpert`.

    Raises:
        UsageError: If transformers is not installed, or there is no config,
            or its architecture is not known.
        ZooError: If the config cannot be fetched.

    Example:
        >>> expert = HFExpert(config=dict(
        ...     model_type='vjepa2', hidden_size=32, num_attention_heads=2,
        ...     num_hidden_layers=2, crop_size=32), num_frames=4)
        >>> expert.input_shape, expert.token_spec.num_steps
        ((3, 4, 32, 32), 2)
    """

    def __init__(
        self,
        model: str | None = None,
        config: Mapping[str, Any] | None = None,
        num_frames: int | None = None,
        img_size: int | None = None,
        pretrained: bool = True,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        if model is None and config is None:
            raise UsageError('HFExpert needs a model or a config')
        if model is not None and not model.startswith(STRINGS):
            model = f'hf:{model}'
        if model is not None and pretrained and init_cfg is None:
            init_cfg = dict(type='Pretrained', checkpoint=model)
        self.model = model
        self.config = _config_of(model, config)
        family = FAMILIES[self.config.model_type]()
        asked = dict(num_frames=num_frames, img_size=img_size)
        for argument, value in asked.items():
            if value is not None and argument in family.settings:
                setattr(self.config, family.settings[argument], value)
            elif value is not None and family.reads == 'audio':
                raise UsageError(
                    f'{argument} is not of {self.config.model_type}, which '
                    'reads audio; its config says what it reads'
                )
        known = _library().MODEL_MAPPING
        self.model_class = known[type(self.config)]
        if family.model_class:
            self.model_class = getattr(_library(), family.model_class)
        whole = self.model_class(self.config, **family.options)
        if family.reads == 'frames':
            options['num_frames'] = num_frames
        super().__init__(
            family,
            family.part(whole),
            img_size=img_size,
            init_cfg=init_cfg,
            **options,
        )

    def portable_config(self) -> dict[str, Any]:
        """Arguments that build it where no config of its model is."""
        said = self.config.to_diff_dict()
        config = {
            key: value
            for key, value in said.items()
            if key not in ('id2label', 'label2id', 'transformers_version')
        }
        config['model_type'] = self.config.model_type
        return dict(type='HFExpert', model=self.model, config=config)

    def published(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model with published weights, as the library makes it."""
        whole, found = self.model_class.from_pretrained(
            None,
            config=self.config,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said below
            **self.family.options,
        )
        missing = [
            key
            for key in found['missing_keys']
            if not key.startswith(('\n', *self.family.optional))
        ]
        if missing:
            raise CheckpointError(
                f'{len(missing)} tensors of {self.model_class.__name__} are '
                f'missing, such as {sorted(missing)[:3]}'
            )
        for key, theirs, ours in found['mismatched_keys']:
            if not key.startswith(('\n', *self.family.optional)):
                raise CheckpointError(
                    f'{key!r} is of shape {tuple(theirs)} instead of '
                    f'{tuple(ours)}; leave out img_size, num_frames and other '
                    'changes of its config, to which its positions are bound'
                )
        # Heads and decoders are left out, but no layer of the encoder.
        known = {_numberless(key) for key in whole.state_dict()}
        prefix = f'{whole.base_model_prefix}.'
        more = [
            key
            for key in found['unexpected_keys']
            if _numberless(key.removeprefix(prefix)) in known
        ]
        if more:
            raise CheckpointError(
                f'its config has no place for {len(more)} tensors, such as '
                f'{sorted(more)[:3]}; correct the number of layers in '
                'config.json'
            )
        return self.family.part(whole)


def _config_of(model: str | None, given: Mapping[str, Any] | None) -> Any:
    """The ``PretrainedConfig`` of a model of a known family.

    Raises:
        UsageError: If the family is not known; names the nearest.
    """
    auto, found = _library().AutoConfig, None
    if given is not None:
        given = dict(given)
        if (kind := given.pop('model_type', None)) in FAMILIES:
            return auto.for_model(kind, **given)
    else:
        folder, config = read_config(model)
        if 'model_type' not in config:
            raise UsageError(f'{model!r} is of timm; use TimmExpert')
        kind = config['model_type']
        with suppress(ValueError):  # the library knows no such type
            found = auto.from_pretrained(folder)
        # Of CLIP and SigLIP with their text encoders, that of images.
        if kind not in FAMILIES:
            found = getattr(found, 'vision_config', None)
        if getattr(found, 'model_type', None) in FAMILIES:
            return found
    near = difflib.get_close_matches(kind or '', FAMILIES, 3, cutoff=0.0)
    raise UsageError(
        f'{model or "config"!r} is of the architecture {kind!r}, which is '
        f'not known; the nearest known are {", ".join(near)}, all are '
        f'{", ".join(FAMILIES)}; add it by the recipe in {RECIPE}'
    )


def _numberless(key: str) -> str:
    """The name of a tensor whatever its layer."""
    return re.sub(r'\.\d+\.', '.N.', key)


def _library() -> Any:
    try:
        import transformers

        found = transformers.__version__
    except ImportError:
        found = '0.0'
    # Before, parts had other names, and VideoMAE lost biases at loading.
    if tuple(map(int, found.split('.')[:2])) < (5, 23):
        raise UsageError(
            "an expert 'hf:...' needs transformers: "
            'pip install "transformers>=5.23"'
        )
    return transformers
