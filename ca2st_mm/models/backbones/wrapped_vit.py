# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ViTs of mmpretrain and MMAction2 as experts."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ca2st_mm.registry import MODELS

from ..layers.position import resize_square_positions
from .expert import TransformerExpert
from .foreign import Family, ForeignExpert, Sizes


class MMPretrainViT(Family):
    """mmpretrain's ``VisionTransformer``."""

    layers, norms = 'layers', ('ln1', 'ln2')

    def sizes(self, model, img_size=None):
        return Sizes(
            model.embed_dims,
            (3, *model.img_size),
            tuple(model.patch_resolution),
            model.patch_embed.projection.stride[-1],
            num_prefix_tokens=(
                0 if model.cls_token is None else model.num_extra_tokens
            ),
        )

    def ends(self, model):
        if model.final_norm:
            yield model.ln1
        if model.out_type == 'avg_featmap':
            yield model.ln2

    def embed(self, model, inputs):
        tokens, _ = model.patch_embed(inputs)
        if model.cls_token is not None:
            special = model.cls_token.expand(tokens.shape[0], -1, -1)
            tokens = torch.cat((special, tokens), dim=1)
        return model.pre_norm(model.drop_after_pos(tokens + model.pos_embed))

    def ffn(self, block, x, adapt):
        normed = block.ln2(x)
        # Its FFNs add the residual themselves.
        zero = torch.zeros_like(x)
        return x + adapt(block.ffn(normed, identity=zero), normed)

    def pool(self, model, x):
        if model.final_norm:
            x = model.ln1(x)
        if model.out_type == 'cls_token':
            return x[:, 0]
        prefix = 0 if model.cls_token is None else model.num_extra_tokens
        return model.ln2(x[:, prefix:].mean(dim=1))


class MMActionViT(Family):
    """MMAction2's VideoMAE ``VisionTransformer``."""

    reads = 'clip'
    behind = ('gamma_1', 'drop_path'), ('gamma_2', 'drop_path')

    def sizes(self, model, img_size=None):
        rows, columns = model.grid_size
        steps = model.pos_embed.shape[1] // (rows * columns)
        frames = steps * model.patch_embed.projection.stride[0]
        patch = model.patch_size
        return Sizes(
            model.embed_dims,
            (3, frames, rows * patch, columns * patch),
            (rows, columns),
            patch,
            steps,
        )

    def ends(self, model):
        yield model.norm
        if model.fc_norm is not None:
            yield model.fc_norm

    def embed(self, model, inputs):
        return model.pos_drop(model.patch_embed(inputs)[0] + model.pos_embed)

    def attend(self, block, x, context):
        # As `block.attn`, but it reads the weight of `qkv` past the module,
        # so that hooks do not fire and LoRA has no effect.
        attn = block.attn
        qkv = attn.qkv(x)
        if hasattr(attn, 'q_bias'):
            no_bias = torch.zeros_like(attn.v_bias)
            qkv = qkv + torch.cat((attn.q_bias, no_bias, attn.v_bias))
        q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).unbind(-3)
        x = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            dropout_p=attn.attn_drop.p if attn.training else 0.0,
            scale=attn.scale,
        )
        return attn.proj_drop(attn.proj(x.transpose(1, 2).flatten(2)))

    def pool(self, model, x):
        x = model.norm(x)
        if model.fc_norm is None:
            return x[:, 0]
        return model.fc_norm(x.mean(dim=1))


class WrappedViT(ForeignExpert):
    """What both experts have in common.

    Attributes:
        runs: How the ViT is run.
        defined_in: Module of its class, ``VisionTransformer``.  Not named
            ``module``, by which MMEngine knows wrappers of models.
        block: The class of its blocks there.
    """

    runs: type[Family]
    defined_in: str
    block: str

    def __init__(
        self,
        backbone: dict,
        frozen_parts: Sequence[str] = ('embed', 'layers'),
        **options: Any,
    ) -> None:
        vit = MODELS.build(backbone)
        module = import_module(self.defined_in)
        parts = [(vit, module.VisionTransformer)]
        for block in getattr(vit, self.runs.layers, ()):
            parts.append((block, getattr(module, self.block)))
        for part, plain in parts:
            if type(part).forward is not plain.forward:
                raise TypeError(
                    f'{type(self).__name__} cannot stop inside the layers of '
                    f'{type(vit).__module__}.{type(vit).__name__}: the forward'
                    f' of its {type(part).__name__} is not that of '
                    f'{self.defined_in}.{plain.__name__}; others of timm are '
                    "experts by one string, 'timm:NAME'"
                )
        super().__init__(
            self.runs(), vit, frozen_parts=frozen_parts, **options
        )

    def init_weights(self) -> None:
        """Start the backbone its own way, then load ``init_cfg``."""
        if not self.is_init:
            self.backbone.init_weights()
        TransformerExpert.init_weights(self)


@MODELS.register_module()
class MMPretrainViTExpert(WrappedViT):
    """An mmpretrain ``VisionTransformer``, frame by frame.

    Self-attention stays inside a frame; the feature is the mean over frames
    of the backbone's own.

    Args:
        backbone: Config such as ``dict(type='mmpretrain.VisionTransformer',
            arch='base')``.
        num_frames: Frames the expert reads, T.
        **options: ``frame_stride``, ``adapter_ratio``, ``frozen_parts``,
            ``init_cfg`` (weights of the backbone or of the whole expert) and
            others of :class:`ForeignExpert`.

    Raises:
        TypeError: If the backbone is no plain VisionTransformer.
        ValueError: If it returns maps or several layers.

    Example:
        >>> expert = MMPretrainViTExpert(dict(
        ...     type='mmpretrain.VisionTransformer', arch='deit-tiny'))
        >>> expert.input_shape
        (3, 1, 224, 224)
    """

    runs = MMPretrainViT
    defined_in = 'mmpretrain.models.backbones.vision_transformer'
    block = 'TransformerEncoderLayer'

    def __init__(
        self, backbone: dict, num_frames: int = 1, **options: Any
    ) -> None:
        super().__init__(backbone, num_frames=num_frames, **options)
        vit = self.backbone
        if vit.out_type not in ('cls_token', 'avg_featmap'):
            raise ValueError(
                "MMPretrainViTExpert needs out_type 'cls_token' or "
                f"'avg_featmap', got {vit.out_type!r}"
            )
        if list(vit.out_indices) != [len(vit.layers) - 1]:
            raise ValueError(
                'MMPretrainViTExpert returns the last layer only; leave '
                f'out_indices out, got {list(vit.out_indices)}'
            )

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take bare names, and resize the position grid."""
        super().fit_state_dict(state_dict)
        key, vit = 'backbone.pos_embed', self.backbone
        if key in state_dict and state_dict[key].shape != vit.pos_embed.shape:
            state_dict[key] = resize_square_positions(
                state_dict[key],
                vit.patch_resolution,
                self.token_spec.num_prefix_tokens,
                vit.interpolate_mode,
            )


@MODELS.register_module()
class MMActionViTExpert(WrappedViT):
    """MMAction2's VideoMAE ``VisionTransformer``; all tokens attend to all.

    Frames, tubelets and image size are those of the wrapped config.

    Args:
        backbone: Config such as ``dict(type='VisionTransformer', depth=12)``.
        **options: ``adapter_ratio``, ``frozen_parts``, ``init_cfg`` (weights
            of the backbone or of the whole expert) and others of
            :class:`ForeignExpert`.

    Raises:
        TypeError: If the backbone is not MMAction2's VideoMAE ViT.
        ValueError: If the backbone returns a map.

    Example:
        >>> expert = MMActionViTExpert(dict(
        ...     type='VisionTransformer', embed_dims=192, depth=2,
        ...     num_heads=3))
        >>> expert.input_shape
        (3, 16, 224, 224)
    """

    runs = MMActionViT
    defined_in, block = 'mmaction.models.backbones.vit_mae', 'Block'

    def __init__(self, backbone: dict, **options: Any) -> None:
        super().__init__(backbone, **options)
        if self.backbone.return_feat_map:
            raise ValueError(
                'MMActionViTExpert needs return_feat_map=False, got True'
            )

    def fit_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take bare names, and our sinusoid table where it is a constant."""
        super().fit_state_dict(state_dict)
        if 'pos_embed' in dict(self.backbone.named_buffers()):
            state_dict['backbone.pos_embed'] = self.backbone.pos_embed
