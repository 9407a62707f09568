# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One classifier over the fused features of all experts."""

import torch
from mmaction.models.heads import BaseHead
from torch import Tensor

from ca2st_mm.checkpoints.loading import load_classifier
from ca2st_mm.registry import MODELS

from ..layers.fusion import ExpertFusion
from ..layers.transformer import linear

CROSS_ENTROPY = dict(type='CrossEntropyLoss', loss_weight=1.0)


def check_hard_labels(labels: Tensor, num_classes: int, name: str) -> None:
    """Refuse labels that are no class.

    PyTorch ignores the label -100 without a word, and on a GPU any other
    such label ends the process without naming it.

    Args:
        labels: Class indices, any shape.
        num_classes: Number of classes of the head.
        name: What is labelled, for the message.

    Raises:
        ValueError: Names the labels that are out of range.
    """
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.numel():
        raise ValueError(
            f'a {name} label lies in 0 to {num_classes - 1}, got '
            f'{wrong.tolist()}; the head and the annotation file must have '
            'the same classes'
        )


@MODELS.register_module()
class FusionHead(BaseHead):
    """Sum of one adapter per expert, then one linear classifier.

    Label smoothing, soft labels (mixup) and ``average_clips`` work as in
    every MMAction2 head.  The released variants differ in the adapters
    only: CAST sums plain adapters; CAST of the later code base
    takes the mean of residual ones; CAVA sums residual ones; CA2ST's audio
    adapter uses QuickGELU and does not start at zero.

    Args:
        num_classes: Number of classes.
        in_channels: Feature width of each expert.
        adapters: Adapter config by expert; plain zero-initialised ones by
            default. See :class:`ExpertFusion`.
        reduction: 'sum' or 'mean' over the experts, or 'concat'.
        out_channels: Width of the fused feature; needed only if the experts
            differ in width.
        loss_cls: Loss config.
        label_smooth_eps: Label smoothing, of hard and of soft labels.
        topk: Accuracies shown while training.
        average_clips: 'prob', 'score' or None: how views are averaged.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` starts the
            classifier from that of a published expert.

    Example:
        >>> import torch
        >>> head = FusionHead(400, dict(spatial=768, temporal=768))
        >>> head(dict.fromkeys(('spatial', 'temporal'),
        ...                    torch.zeros(2, 768))).shape
        torch.Size([2, 400])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: dict[str, int],
        adapters: dict[str, dict] | None = None,
        reduction: str = 'sum',
        out_channels: int | None = None,
        loss_cls: dict = CROSS_ENTROPY,
        label_smooth_eps: float = 0.0,
        topk: int | tuple[int, ...] = (1, 5),
        average_clips: str | None = 'prob',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            loss_cls=loss_cls,
            label_smooth_eps=label_smooth_eps,
            topk=topk,
            average_clips=average_clips,
            init_cfg=init_cfg,
        )
        self.fusion = ExpertFusion(
            in_channels, adapters, reduction, out_channels
        )
        self.fc_cls = linear(self.fusion.out_channels, num_classes)

    def init_weights(self) -> None:
        """Load the classifier that ``init_cfg`` names, if any."""
        if self.init_cfg is not None and not self.is_init:
            load_classifier(self.fc_cls, self.init_cfg['checkpoint'])
        self._is_init = True

    @property
    def fusion_by_task(self) -> dict[str, ExpertFusion]:
        """What the classifier takes."""
        return dict(label=self.fusion)

    def forward(self, feats: dict[str, Tensor], **kwargs) -> Tensor:
        """Features {expert: (B, C)} -> logits (B, num_classes)."""
        return self.fc_cls(self.fusion(feats))

    def loss_by_feat(
        self, cls_scores: Tensor, data_samples: list
    ) -> dict[str, Tensor]:
        """Loss and training accuracies, of labels that fit the classes.

        Args:
            cls_scores: Logits (B, num_classes).
            data_samples: Samples with a ``gt_label``, hard (1,) or soft
                (num_classes,).

        Returns:
            ``loss_cls``; with hard labels also ``top1_acc`` and so on.

        Raises:
            ValueError: If a label is of another form or out of range.
        """
        labels = torch.stack([s.gt_label for s in data_samples])
        if labels.shape[1:] == (1,):
            check_hard_labels(labels, self.num_classes, 'class')
        elif labels.shape[1:] != (self.num_classes,):
            raise ValueError(
                'a label is one class or a soft vector of '
                f'{self.num_classes} numbers, got the shape '
                f'{tuple(labels.shape[1:])}'
            )
        return super().loss_by_feat(cls_scores, data_samples)
