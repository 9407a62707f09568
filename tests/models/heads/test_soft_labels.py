# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The verb and noun head takes blended labels, smoothed like hard ones."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from torch.nn import functional as F

VERBS, NOUNS = 3, 4
LABELS = torch.tensor([[0, 0], [1, 1], [2, 2], [2, 3]])


@pytest.mark.parametrize('eps', [0.0, 0.1])
def test_loss_of_a_blend_is_the_blend_of_losses(eps):
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='VerbNounHead',
            num_verbs=VERBS,
            num_nouns=NOUNS,
            fusions=dict(verb=dict(in_channels=dict(spatial=8)), noun='verb'),
            label_smooth_eps=eps,
        )
    )
    logits = dict(verb=torch.randn(4, VERBS), noun=torch.randn(4, NOUNS))

    def losses(labels):
        found = head.loss_by_feat(logits, tiny.samples(labels))
        return torch.stack([found['loss_verb'], found['loss_noun']])

    hard = losses(LABELS)
    for loss, scores, label in zip(
        hard, logits.values(), LABELS.T, strict=True
    ):
        expected = F.cross_entropy(scores, label, label_smoothing=eps)
        torch.testing.assert_close(loss, expected)
    verbs, nouns = LABELS.T
    soft = torch.cat([F.one_hot(verbs, VERBS), F.one_hot(nouns, NOUNS)], 1)
    mixed = losses(0.7 * soft + 0.3 * soft.flip(0))
    torch.testing.assert_close(
        mixed, 0.7 * hard + 0.3 * losses(LABELS.flip(0))
    )
