# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer for several input streams and many test views."""

from typing import Any

import torch
from mmaction.models.recognizers import BaseRecognizer
from torch import Tensor

from ca2st_mm.registry import MODELS

from ..data_preprocessors import MultiStreamDataPreprocessor


@MODELS.register_module()
class MultiExpertRecognizer(BaseRecognizer):
    """Folds views into the batch for every stream and runs the backbone.

    MMAction2's ``MMRecognizer3D`` does the same without
    ``test_cfg=dict(max_testing_views=...)``, which bounds the memory of
    multi-view testing: views go through the backbone in chunks.  A
    ``MultiStreamDataPreprocessor`` learns the number of classes from the
    head.

    Args:
        **kwargs: Arguments of ``BaseRecognizer``.

    Raises:
        ValueError: If the blending has other classes than the head, or the
            head names experts that the backbone has not.
            When views are chunked, if ``max_testing_views`` is below one.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        preprocessor = self.data_preprocessor
        if self.with_cls_head and isinstance(
            preprocessor, MultiStreamDataPreprocessor
        ):
            head = self.cls_head
            sizes = getattr(head, 'sizes', dict(label=head.num_classes))
            preprocessor.set_classes(sizes)
        self._check_experts()

    def _check_experts(self) -> None:
        """Raise if the head fuses experts that the backbone has not."""
        known = set(getattr(self.backbone, 'experts', ()))
        if not (known and self.with_cls_head):
            return
        if unknown := getattr(self.cls_head, 'experts', set()) - known:
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
                'tools/convert_checkpoint.py reads other layouts'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extract_feat(
        self,
        inputs: dict[str, Tensor],
        stage: str = 'backbone',
        data_samples: list | None = None,
        test_mode: bool = False,
    ) -> tuple:
        """Features of all views.

        Args:
            inputs: Streams (B, views, ...).
            stage: 'backbone' for features, 'head' for logits.
            data_samples: Not used.
            test_mode: Whether views may be chunked.

        Returns:
            Features {expert: (B * views, C)} (or logits) and an empty dict.

        Raises:
            ValueError: If the streams disagree on the number of views.
        """
        shapes = {key: tuple(x.shape[:2]) for key, x in inputs.items()}
        if len(set(shapes.values())) != 1:
            raise ValueError(
                f'all streams need the same (batch, views), got {shapes}'
            )
        flat = {key: x.flatten(0, 1) for key, x in inputs.items()}
        feats = self._run(flat, test_mode)
        if stage == 'head' and self.with_cls_head:
            return self.cls_head(feats), {}
        return feats, {}

    def _run(
        self, inputs: dict[str, Tensor], test_mode: bool
    ) -> dict[str, Tensor]:
        limit = (self.test_cfg or {}).get('max_testing_views')
        if not test_mode or limit is None:
            return self.backbone(**inputs)
        if limit < 1:
            raise ValueError(
                'test_cfg.max_testing_views is the number of views that go '
                f'through the backbone at once, got {limit}; it is at least '
                '1, or None for all'
            )
        total = len(next(iter(inputs.values())))
        chunks = [
            self.backbone(**{k: x[i : i + limit] for k, x in inputs.items()})
            for i in range(0, total, limit)
        ]
        return {
            name: torch.cat([chunk[name] for chunk in chunks])
            for name in chunks[0]
        }
