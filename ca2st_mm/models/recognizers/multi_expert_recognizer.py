# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer for several input streams and many test views."""

import torch
from mmaction.models.recognizers import BaseRecognizer
from torch import Tensor

from ca2st_mm.registry import MODELS


@MODELS.register_module()
class MultiExpertRecognizer(BaseRecognizer):
    """Folds views into the batch for every stream and runs the backbone.

    MMAction2's ``MMRecognizer3D`` does the same without
    ``test_cfg=dict(max_testing_views=...)``, which bounds the memory of
    multi-view testing: views go through the backbone in chunks.

    Raises:
        ValueError: When views are chunked, if ``max_testing_views`` is below
            one.
    """

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
