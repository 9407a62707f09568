# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer for several input streams and many test views."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from mmaction.models.recognizers import BaseRecognizer
from torch import Tensor

from ca2st_mm.checkpoints import sharing
from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams
from ca2st_mm.utils.errors import UsageError

from ..backbones.multi_expert import BackboneOutput
from ..data_preprocessors import MultiStreamBlending
from ..layers import fusions_of


@MODELS.register_module()
class MultiExpertRecognizer(BaseRecognizer):
    """Joins views and batch of every stream and runs the backbone.

    MMAction2's ``MMRecognizer3D`` does the same without
    ``test_cfg=dict(max_testing_views=...)``, which bounds the memory of
    multi-view testing: views go through the backbone in chunks.  A
    ``MultiStreamDataPreprocessor`` learns the number of classes from the
    head.  It has ``save_pretrained`` and ``push_to_hub`` as methods.

    Args:
        **kwargs: Arguments of ``BaseRecognizer``.

    Raises:
        ValueError: If the blending has other classes than the head, or the
            head names experts that the backbone has not, or
            ``max_testing_views`` is no number of views.

    Example:
        >>> import torch
        >>> from mmaction.registry import MODELS
        >>> size = dict(embed_dims=16, num_layers=2, num_heads=2,
        ...             feedforward_channels=32)
        >>> expert = dict(type='VideoMAEExpert', arch=size, img_size=32,
        ...               num_frames=4)
        >>> model = MODELS.build(dict(
        ...     type='MultiExpertRecognizer',
        ...     backbone=dict(type='MultiExpertBackbone',
        ...                   experts=dict(temporal=expert),
        ...                   inputs=dict(temporal='imgs')),
        ...     cls_head=dict(type='FusionHead', num_classes=5,
        ...                   in_channels=dict(temporal=16))))
        >>> views = dict(imgs=torch.zeros(1, 2, 3, 4, 32, 32))
        >>> model(views, mode='tensor', stage='head').shape
        torch.Size([2, 5])
    """

    save_pretrained = sharing.save_pretrained
    push_to_hub = sharing.push_to_hub

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        limit = (self.test_cfg or {}).get('max_testing_views')
        if limit is not None and not (isinstance(limit, int) and limit > 0):
            raise UsageError(
                'test_cfg.max_testing_views is the number of views that go '
                f'through the backbone at once, got {limit!r}; it is at least '
                '1, or None for all'
            )
        if not self.with_cls_head:
            return
        head = self.cls_head
        blending = getattr(self.data_preprocessor, 'blending', None)
        if isinstance(blending, MultiStreamBlending):
            sizes = getattr(head, 'sizes', dict(label=head.num_classes))
            blending.set_classes(sizes)
        known = set(getattr(self.backbone, 'experts', ()))
        fusions = fusions_of(head).values()
        unknown = {n for fusion in fusions for n in fusion.adapters} - known
        if known and unknown:
            raise ValueError(
                f'in_channels of the head names {sorted(unknown)}, but the '
                f'experts of the backbone are {sorted(known)}'
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        own = {f'{prefix}{name}' for name in self.state_dict()}
        if state_dict and own.isdisjoint(state_dict):
            # MMEngine would warn, keep random weights and go on.
            raise ValueError(
                f'none of the {len(state_dict)} tensors of the checkpoint is '
                f'of this model, e.g. {min(state_dict)!r}; '
                'ca2st convert reads other layouts'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extract_feat(
        self,
        inputs: Mapping[str, Stream | Tensor],
        stage: str = 'backbone',
        data_samples: list | None = None,
        test_mode: bool = False,
        **options: Any,
    ) -> tuple:
        """Features of all views.

        Args:
            inputs: Streams (B, views, ...), or their values.
            stage: 'backbone' for features, 'head' for logits.
            data_samples: Not used.
            test_mode: Whether views may be chunked.
            **options: ``experts``, ``return_tokens``, ``return_attention``,
                ``attention_head`` of :meth:`MultiExpertBackbone.forward`.

        Returns:
            What the backbone returns, a row for each view: features
            {expert: (B * views, C)}, or a ``BackboneOutput`` if tokens or
            attention are asked for; with stage 'head' the logits alone.  And
            an empty dict.

        Raises:
            ValueError: If the streams disagree on the number of views.
        """
        streams = as_streams(inputs)
        shapes = {
            (name, part): tuple(value.shape[:2])
            for name, stream in streams.items()
            for part, value in stream._asdict().items()
            if value is not None
        }
        # Not by a set: hashes would compile the model for one batch size.
        first, *others = shapes.values()
        if any(other != first for other in others):
            raise ValueError(
                f'all streams need the same (batch, views), got {shapes}'
            )
        rows = {
            name: stream.map(lambda part: part.flatten(0, 1))
            for name, stream in streams.items()
        }
        out = self._run(rows, test_mode, options)
        if stage == 'head' and self.with_cls_head:
            return self.cls_head(getattr(out, 'features', out)), {}
        return out, {}

    def predict(
        self,
        inputs: Mapping[str, Stream | Tensor],
        data_samples: list,
        experts: Collection[str] | None = None,
        **kwargs: Any,
    ) -> list:
        """Classify, optionally with some of the experts alone.

        Args:
            inputs: Streams (B, views, ...), or their values.
            data_samples: Where the scores are written.
            experts: The experts that run; None for all.
            **kwargs: Not used.

        Returns:
            ``data_samples``.
        """
        options = {} if experts is None else dict(experts=experts)
        feats, _ = self.extract_feat(inputs, test_mode=True, **options)
        return self.cls_head.predict(feats, data_samples)

    def _run(
        self, rows: dict[str, Stream], test_mode: bool, options: dict
    ) -> dict[str, Tensor] | BackboneOutput:
        limit = (self.test_cfg or {}).get('max_testing_views')
        if not test_mode or limit is None:
            return self.backbone(**rows, **options)
        total = len(next(iter(rows.values())).values)
        chunks = []
        for start in range(0, total, limit):
            chunk = {
                name: stream.map(lambda x, i=start: x[i : i + limit])
                for name, stream in rows.items()
            }
            chunks.append(self.backbone(**chunk, **options))
        return _joined(chunks)


def _joined(chunks: list) -> Any:
    """Join outputs of the backbone along the rows, whatever holds them."""
    first = chunks[0]
    if len(chunks) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(chunks)
    if isinstance(first, dict):
        return {key: _joined([c[key] for c in chunks]) for key in first}
    if isinstance(first, tuple):
        return type(first)(*map(_joined, map(list, zip(*chunks, strict=True))))
    return first  # the name of an axis
