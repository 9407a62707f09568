# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Vision transformers of timm as experts, frame by frame."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ca2st_mm.checkpoints.files import CheckpointError
from ca2st_mm.registry import MODELS

from .foreign import (
    LOCAL,
    RECIPE,
    Family,
    ForeignExpert,
    Sizes,
    read_folder,
    require_hub,
)


class TimmViT(Family):
    """``VisionTransformer`` of timm with ``Block``."""

    behind = ('ls1', 'drop_path1'), ('ls2', 'drop_path2')

    def sizes(self, model, img_size=None):
        embed = model.patch_embed
        return Sizes(
            model.embed_dim,
            (3, *embed.img_size),
            tuple(embed.grid_size),
            embed.img_size[0] // embed.grid_size[0],
            num_prefix_tokens=model.num_prefix_tokens,
            pools_patches=model.global_pool != 'token',
        )

    def ends(self, model):
        yield from (model.norm, model.fc_norm)
        if model.attn_pool is not None:
            yield model.attn_pool

    def embed(self, model, inputs):
        x = model._pos_embed(model.patch_embed(inputs))
        return model.norm_pre(model.patch_drop(x))

    def pool(self, model, x):
        return model.forward_head(model.norm(x), pre_logits=True)


class TimmResPostViT(TimmViT):
    """With ``ResPostBlock``: the norm is the end of the branch."""

    def attention(self, block, x, adapt, context):
        return x + adapt(block.drop_path1(block.norm1(block.attn(x))))

    def ffn(self, block, x, adapt):
        return x + adapt(block.drop_path2(block.norm2(block.mlp(x))), x)


class TimmEva(TimmViT):
    """``Eva`` with ``EvaBlock``: rotary positions go to every attention."""

    def embed(self, model, inputs):
        x, _ = model._pos_embed(model.patch_embed(inputs))
        return model.norm_pre(x)

    def context(self, model, tokens):
        if model.rope is None:
            return None
        rope = model.rope.get_embed(shape=model.patch_embed.grid_size)
        # (N, 2 * dims), or one for each block (depth, heads, N, dims).
        return rope if rope.ndim == 4 else [rope] * len(model.blocks)

    def attention(self, block, x, adapt, context):
        branch = block.attn(block.norm1(x), rope=context)
        if block.gamma_1 is not None:
            branch = block.gamma_1 * branch
        return x + adapt(block.drop_path1(branch))

    def ffn(self, block, x, adapt):
        normed = block.norm2(x)
        branch = block.mlp(normed)
        if block.gamma_2 is not None:
            branch = block.gamma_2 * branch
        return x + adapt(block.drop_path2(branch), normed)


class TimmEvaPostNorm(TimmEva):
    """With ``EvaBlockPostNorm``: the norm is the end of the branch."""

    def attention(self, block, x, adapt, context):
        branch = block.attn(x, rope=context)
        return x + adapt(block.drop_path1(block.norm1(branch)))

    ffn = TimmResPostViT.ffn


# By the names of the classes of model and block; no subclasses of either.
FAMILIES = {
    ('VisionTransformer', 'Block'): TimmViT,
    ('VisionTransformer', 'ResPostBlock'): TimmResPostViT,
    ('Eva', 'EvaBlock'): TimmEva,
    ('Eva', 'EvaBlockPostNorm'): TimmEvaPostNorm,
}


@MODELS.register_module()
class TimmExpert(ForeignExpert):
    """A vision transformer of timm, frame by frame, without its classifier.

    Frozen, with adapters.  The feature is the mean over frames of timm's own.
    The weights are loaded by ``init_weights``, strictly, not when it is
    built.

    Args:
        model: timm's name, such as 'vit_base_patch16_224.augreg_in21k' or
            'hf-hub:OWNER/NAME@REVISION'; or 'local-dir:PATH', a folder of a
            timm model.  A leading 'timm:' is allowed.
        img_size: Side of the frames in pixels; timm resizes its positions.
            None for the model's own.
        model_args: Further arguments of timm's model, such as a depth.
        pretrained: False leaves the weights random.
        init_cfg: Weights in a file of yours instead of timm's.
        **options: ``num_frames``, ``frame_stride``, ``adapter_ratio`` and
            others of :class:`ForeignExpert`.

    Raises:
        ImportError: If timm is not installed.
        TypeError: If this architecture is not known.
        ValueError: If there is no model of this name.

    Example:
        >>> expert = TimmExpert('vit_tiny_patch16_224', num_frames=2,
        ...                     pretrained=False)
        >>> expert.input_shape, expert.token_spec.num_patches
        ((3, 2, 224, 224), 196)
    """

    def __init__(
        self,
        model: str,
        num_frames: int | None = None,
        img_size: int | None = None,
        model_args: Mapping[str, Any] | None = None,
        pretrained: bool = True,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        self.model = model.removeprefix('timm:')
        self.model_args = dict(model_args or {})
        if img_size is not None:
            self.model_args['img_size'] = img_size
        if pretrained and init_cfg is None:
            source = model if model.startswith(LOCAL) else f'timm:{self.model}'
            init_cfg = dict(type='Pretrained', checkpoint=source)
        vit = self._create(pretrained=False)
        kinds = {type(block).__name__ for block in getattr(vit, 'blocks', ())}
        kind = (type(vit).__name__, ' and '.join(sorted(kinds)))
        if kind not in FAMILIES or not type(vit).__module__.startswith('timm'):
            of = f' of {kind[1]}' if kind[1] else ''
            raise TypeError(
                f'timm:{self.model} is a {kind[0]}{of}, which is not known; '
                f'known are {", ".join(f"{m} of {b}" for m, b in FAMILIES)}, '
                f'such as {", ".join(_nearest(self.model))}; add it by the '
                f'recipe in {RECIPE}'
            )
        super().__init__(
            FAMILIES[kind](), vit, num_frames, init_cfg=init_cfg, **options
        )

    def _create(self, pretrained: bool) -> nn.Module:
        try:
            import timm
        except ImportError as error:
            raise ImportError(
                f'timm:{self.model} needs timm: pip install "timm>=1.0.31"'
            ) from error
        if self.model.startswith(LOCAL):
            folder = self.model.removeprefix(LOCAL)
            if 'model_type' in read_folder(folder):
                raise ValueError(
                    f'{folder!r} is a folder of transformers; use HFExpert'
                )
        elif ':' not in self.model and not timm.is_model(self.model):
            raise ValueError(
                f'timm has no model {self.model!r}; the nearest are '
                + ', '.join(_nearest(self.model))
            )
        if '.' in self.model and ':' not in self.model:
            tags = timm.list_pretrained(self.model.partition('.')[0])
            if self.model not in tags:
                raise ValueError(
                    f'timm has no weights {self.model!r}; it has '
                    + ', '.join(tags)
                )
        hub = self.model.partition('hf-hub:')[2]
        if hub:
            repository, _, revision = hub.partition('@')
            source = f'timm:{self.model}'
            require_hub(source, repository, revision or None)
        # Weights are loaded with the classifier that they have: timm ignores
        # missing tensors, without a word, where the number of classes differs.
        vit = timm.create_model(
            self.model, pretrained=pretrained, **self.model_args
        )
        if hasattr(vit, 'reset_classifier'):
            vit.reset_classifier(0)
        return vit

    def load_published(self) -> None:
        """Fill the model with timm's weights.

        Raises:
            CheckpointError: If they do not fit.
            FileNotFoundError: If they are not here and cannot be fetched.
        """
        import timm

        source = self.init_cfg['checkpoint']
        if ':' not in self.model:
            published = timm.get_pretrained_cfg(self.model)
            if published and published.hf_hub_id:
                require_hub(source, published.hf_hub_id, None)
        try:
            with torch.device('cpu'):
                weights = self._create(pretrained=True).state_dict()
        except OSError as error:
            raise FileNotFoundError(
                f'{source!r}: {" ".join(str(error).split())}'
            ) from error
        except (RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f'{source!r} does not fit: {" ".join(str(error).split())}'
            ) from error
        self.fill(weights, source)


def _nearest(name: str) -> list[str]:
    import timm

    known = timm.list_models(module='vision_transformer')
    known += timm.list_models(module='eva')
    known = [name for name in known if not name.startswith('test_')]
    bare = name.rpartition('/')[2].partition('.')[0]
    return difflib.get_close_matches(bare, known, n=3, cutoff=0.0)
