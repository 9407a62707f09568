# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Vision transformers of timm as experts, frame by frame."""

import difflib
import re
from collections.abc import Mapping
from logging import WARNING
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from ca2st_mm.registry import MODELS
from ca2st_mm.utils.errors import UsageError

from .foreign import (
    LOCAL,
    RECIPE,
    STRINGS,
    Family,
    ForeignExpert,
    Sizes,
    fetched,
    read_config,
)


class TimmViT(Family):
    """``VisionTransformer`` of timm with ``Block``."""

    behind = ('ls1', 'drop_path1'), ('ls2', 'drop_path2')

    def sizes(self, model, img_size=None):
        embed = model.patch_embed
        patch = embed.patch_size[0]
        if hasattr(embed, 'backbone'):  # whose features it cuts
            patch = embed.img_size[0] // embed.grid_size[0]
        return Sizes(
            model.embed_dim,
            (3, *embed.img_size),
            tuple(embed.grid_size),
            patch,
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

    norms = ('', '')
    behind = ('norm1', 'drop_path1'), ('norm2', 'drop_path2')


class TimmEva(TimmViT):
    """``Eva`` with ``EvaBlock``: rotary positions go to every attention."""

    behind = ('gamma_1', 'drop_path1'), ('gamma_2', 'drop_path2')

    def embed(self, model, inputs):
        x, _ = model._pos_embed(model.patch_embed(inputs))
        return model.norm_pre(x)

    def context(self, model, tokens):
        if model.rope is None:
            return None
        rope = model.rope.get_embed(shape=model.patch_embed.grid_size)
        # (N, 2 * dims), or one for each block (depth, heads, N, dims).
        return rope if rope.ndim == 4 else [rope] * len(model.blocks)

    def attend(self, block, x, context):
        return block.attn(x, rope=context)


class TimmEvaPostNorm(TimmEva):
    """With ``EvaBlockPostNorm``: the norm is the end of the branch."""

    norms, behind = TimmResPostViT.norms, TimmResPostViT.behind


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
        UsageError: If timm is not installed, or there is no model of this
            name, or its architecture is not known.

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
        try:
            import timm
        except ImportError as error:
            raise UsageError(
                f'{model!r} needs timm: pip install "timm>=1.0.31"'
            ) from error
        self.model = model if model.startswith(STRINGS) else f'timm:{model}'
        if pretrained and init_cfg is None:
            init_cfg = dict(type='Pretrained', checkpoint=self.model)
        self.name = known_as = self.model.removeprefix('timm:')
        if ':' in self.name:
            folder, config = read_config(self.name)
            if 'architecture' not in config:
                raise UsageError(f'{model!r} is of transformers; use HFExpert')
            # With 'hf-hub:', timm would ask the Hub again and again.
            self.name, known_as = f'{LOCAL}{folder}', config['architecture']
            # Beside the arguments, as timm's own reading of a folder has it.
            stored = {k: config[k] for k in ('num_classes',) if k in config}
            stored.update(config.get('model_args', {}))
            model_args = {**stored, **(model_args or {})}
        self.architecture, self.model_args = known_as, dict(model_args or {})
        if img_size is not None:
            self.model_args['img_size'] = img_size
        try:
            vit = timm.create_model(self.name, **self.model_args)
        except RuntimeError as error:  # an unknown name, or tag of one
            raise UsageError(f'{error}; {_nearest(known_as)}') from error
        kinds = {type(block).__name__ for block in getattr(vit, 'blocks', ())}
        kind = (type(vit).__name__, ' and '.join(sorted(kinds)))
        if kind not in FAMILIES or not type(vit).__module__.startswith('timm'):
            raise UsageError(
                f'{model} is a {" of ".join(filter(None, kind))}, which is '
                f'not known; known are {", ".join(map(" of ".join, FAMILIES))}'
                f': {_nearest(known_as)}; add it by the recipe in {RECIPE}'
            )
        if re.search(r'_clip_\d.*\.openai$', known_as):
            quick = known_as.replace('_clip_', '_clip_quickgelu_')
            print_log(
                f'{model}: OpenAI trained with quick GELU, but timm builds '
                f'GELU for this name; take timm:{quick}',
                logger='current',
                level=WARNING,
            )
        vit.reset_classifier(0)
        super().__init__(
            FAMILIES[kind](), vit, num_frames, init_cfg=init_cfg, **options
        )

    def portable_config(self) -> dict[str, Any]:
        """Arguments that build it where no folder of its model is."""
        return dict(
            type='TimmExpert',
            model=f'timm:{self.architecture}',
            model_args=self.model_args,
            init_cfg=self.init_cfg,
        )

    def weights_of(self, source: str) -> str | Path:
        """Where the weights are that a string names."""
        import timm

        name = source.removeprefix('timm:')
        if ':' in name:
            return fetched(name)
        found = timm.get_pretrained_cfg(name)
        if found is None or not (found.hf_hub_id or found.url):
            raise UsageError(
                f'timm knows no weights of {name!r}; name a tag, as '
                f'timm.list_pretrained({name.partition(".")[0] + "*"!r}) '
                'shows them'
            )
        if found.hf_hub_id:
            return fetched(
                f'hf:{found.hf_hub_id}', found.hf_hub_filename or ''
            )
        return found.url

    def published(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model with published weights, as timm makes it."""
        import timm

        # With the classifier that they have: timm ignores missing tensors,
        # without a word, where the number of classes differs.
        vit = timm.create_model(
            self.name,
            pretrained=True,
            pretrained_cfg_overlay=dict(source='', state_dict=weights),
            **self.model_args,
        )
        vit.reset_classifier(0)
        return vit


def _nearest(name: str) -> str:
    """The models of our families whose names are like this one."""
    import timm

    name, known = name.rpartition('/')[2], []
    for module in ('vision_transformer', 'eva'):
        known += timm.list_models(
            module=module, pretrained='.' in name, exclude_filters='test_*'
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return f'the nearest known are {", ".join(near)}'
