# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A classifier whose classes do not exclude each other."""

from typing import Any

from mmaction.models.heads import BaseHead
from torch import Tensor, nn

from ca2st_mm.registry import MODELS

from ..layers.transformer import linear


@MODELS.register_module()
class MultiLabelHead(BaseHead):
    """A norm and a linear classifier; each class has a sigmoid of its own.

    It is AST's head on AudioSet (arXiv 2104.01778, section 2), where speech
    and music may sound at once: the probabilities of a clip do not add up to
    one.

    Args:
        num_classes: Number of classes.
        in_channels: Width of the feature.
        loss_cls: Loss config; labels are (num_classes,) of zeros and ones.
        **options: As for every head of MMAction2, e.g. ``average_clips``.

    Example:
        >>> import torch
        >>> head = MultiLabelHead(527, 768, average_clips='prob')
        >>> logits = head(torch.zeros(2, 768))  # two views of a clip
        >>> head.average_clip(logits, num_segs=2).shape
        torch.Size([1, 527])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: dict | None = None,
        **options: Any,
    ) -> None:
        loss_cls = loss_cls or dict(type='BCELossWithLogits')
        super().__init__(
            num_classes, in_channels, loss_cls, multi_class=True, **options
        )
        self.norm = nn.LayerNorm(in_channels)
        self.fc_cls = linear(in_channels, num_classes)

    def forward(self, feats: Tensor, **kwargs: Any) -> Tensor:
        """Features (B, C) -> logits (B, num_classes)."""
        return self.fc_cls(self.norm(feats))

    def average_clip(self, cls_scores: Tensor, num_segs: int = 1) -> Tensor:
        """Average views: logits (B * num_segs, num_classes) -> (B, ...).

        ``average_clips='prob'`` averages probabilities, ``'score'`` logits.
        """
        if self.average_clips == 'prob':
            views = cls_scores.sigmoid().unflatten(0, (-1, num_segs))
            return views.mean(dim=1)
        return super().average_clip(cls_scores, num_segs)
