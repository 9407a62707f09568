# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Verb and noun classifiers, as EPIC-KITCHENS asks for."""

from collections.abc import Mapping

import torch
from mmaction.evaluation import top_k_accuracy
from mmaction.models.heads import BaseHead
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F

from ca2st_mm.registry import MODELS

from ..layers.fusion import ExpertFusion
from ..layers.transformer import linear
from .fusion_head import CROSS_ENTROPY, check_hard_labels

TASKS = ('verb', 'noun')


def _at_least_float32(scores: Tensor) -> Tensor:
    # numpy, and a precise loss, know no bfloat16
    return scores.to(torch.promote_types(scores.dtype, torch.float))


@MODELS.register_module()
class VerbNounHead(BaseHead):
    """One classifier for verbs and one for nouns.

    Which expert feeds which classifier is set in the config: in CAST the
    temporal expert gives the verb and the spatial one the noun; in CAVA both
    classifiers take one sum; in CA2ST the audio expert joins both.  The loss
    is the unweighted sum of both cross-entropies.

    A hard label is ``[verb, noun]``; a soft one (mixup) the verb and the noun
    distribution joined to one vector.

    Args:
        num_verbs: Number of verbs (EPIC-KITCHENS-100: 97).
        num_nouns: Number of nouns (EPIC-KITCHENS-100: 300).
        fusions: For 'verb' and 'noun' the arguments of an
            :class:`ExpertFusion`, or the name of the other task to share its
            fusion.
        loss_cls: Loss config, used for both.
        label_smooth_eps: Label smoothing, of hard and of soft labels.
        topk: Accuracies shown while training.
        average_clips: 'prob', 'score' or None: how views are averaged.
        init_cfg: Initialization config.

    Raises:
        ValueError: If ``fusions`` does not describe both tasks.

    Example:
        >>> import torch
        >>> head = VerbNounHead(97, 300, fusions=dict(
        ...     verb=dict(in_channels=dict(temporal=768)),
        ...     noun=dict(in_channels=dict(spatial=768))))
        >>> feats = dict.fromkeys(('spatial', 'temporal'), torch.zeros(2, 768))
        >>> {task: x.shape[1] for task, x in head(feats).items()}
        {'verb': 97, 'noun': 300}
    """

    def __init__(
        self,
        num_verbs: int,
        num_nouns: int,
        fusions: Mapping[str, dict | str],
        loss_cls: dict = CROSS_ENTROPY,
        label_smooth_eps: float = 0.0,
        topk: int | tuple[int, ...] = (1, 5),
        average_clips: str | None = 'prob',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            num_verbs + num_nouns,
            0,
            loss_cls=loss_cls,
            label_smooth_eps=label_smooth_eps,
            topk=topk,
            average_clips=average_clips,
            init_cfg=init_cfg,
        )
        own = {k: v for k, v in fusions.items() if not isinstance(v, str)}
        if set(fusions) != set(TASKS) or not own:
            raise ValueError(
                "fusions describes 'verb' and 'noun', at most one of them by "
                f'the name of the other; got {dict(fusions)}'
            )
        self.fusion_of = {
            task: task if task in own else fusions[task] for task in TASKS
        }
        self.fusions = nn.ModuleDict(
            {task: ExpertFusion(**own[task]) for task in TASKS if task in own}
        )
        self.sizes = dict(verb=num_verbs, noun=num_nouns)
        for task, size in self.sizes.items():
            width = self.fusions[self.fusion_of[task]].out_channels
            setattr(self, f'fc_{task}', linear(width, size))

    @property
    def fusion_by_task(self) -> dict[str, ExpertFusion]:
        """What each classifier takes."""
        return {
            task: self.fusions[name] for task, name in self.fusion_of.items()
        }

    def forward(self, feats: dict[str, Tensor], **kwargs) -> dict[str, Tensor]:
        """Features {expert: (B, C)} -> logits {verb, noun: (B, classes)}."""
        fused = {name: fuse(feats) for name, fuse in self.fusions.items()}
        return dict(
            verb=self.fc_verb(fused[self.fusion_of['verb']]),
            noun=self.fc_noun(fused[self.fusion_of['noun']]),
        )

    def _split_labels(self, labels: Tensor) -> dict[str, Tensor]:
        """Hard (B, 2) or soft (B, verbs + nouns) labels by task."""
        if not labels.is_floating_point() and labels.shape[-1] == 2:
            hard = dict(zip(TASKS, labels.unbind(-1), strict=True))
            for task, label in hard.items():
                check_hard_labels(label, self.sizes[task], task)
            return hard
        if labels.shape[-1] != sum(self.sizes.values()):
            raise ValueError(
                'a label is [verb, noun] or a soft vector of '
                f'{self.sizes["verb"]} + {self.sizes["noun"]} numbers, got '
                f'the shape {tuple(labels.shape[1:])}'
            )
        soft = labels.split(list(self.sizes.values()), dim=-1)
        return dict(zip(TASKS, soft, strict=True))

    def loss_by_feat(
        self, cls_scores: dict[str, Tensor], data_samples: list
    ) -> dict[str, Tensor]:
        """Loss of both tasks and their training accuracies.

        Args:
            cls_scores: Logits {verb, noun: (B, classes)}.
            data_samples: Samples with a ``gt_label``, hard (2,) or soft
                (verbs + nouns,).

        Returns:
            ``loss_verb`` and ``loss_noun``, at least float32; with hard
            labels also ``verb_top1_acc`` and so on.

        Raises:
            ValueError: If a label is of another form or out of range.
        """
        device = cls_scores['verb'].device
        labels = torch.stack([s.gt_label for s in data_samples]).to(device)
        losses = {}
        for task, label in self._split_labels(labels).items():
            scores = _at_least_float32(cls_scores[task])
            if label.ndim == 1:
                accuracies = top_k_accuracy(
                    scores.detach().float().cpu().numpy(),
                    label.cpu().numpy(),
                    self.topk,
                )
                for k, accuracy in zip(self.topk, accuracies, strict=True):
                    losses[f'{task}_top{k}_acc'] = scores.new_tensor(accuracy)
            if self.label_smooth_eps:
                size, eps = self.sizes[task], self.label_smooth_eps
                if label.ndim == 1:
                    label = F.one_hot(label, size)
                label = (1 - eps) * label + eps / size
            losses[f'loss_{task}'] = self.loss_cls(scores, label)
        return losses

    def predict_by_feat(
        self, cls_scores: dict[str, Tensor], data_samples: list
    ) -> list[BaseDataElement]:
        """Write ``pred_verb_score`` and ``pred_noun_score`` of each sample."""
        for task in TASKS:
            scores = _at_least_float32(cls_scores[task])
            views = scores.shape[0] // len(data_samples)
            scores = self.average_clip(scores, num_segs=views)
            for sample, score in zip(data_samples, scores, strict=True):
                sample.set_field(score, f'pred_{task}_score')
                label = score.argmax(dim=-1, keepdim=True)
                sample.set_field(label, f'pred_{task}_label')
        return data_samples
