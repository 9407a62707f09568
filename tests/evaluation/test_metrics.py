# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics against numbers worked out by hand."""

import pytest
import torch
from mmaction.structures import ActionDataSample

from ca2st_mm.evaluation import (
    AudioVisualAccMetric,
    ClipAccMetric,
    SoundEventMetric,
    VerbNounMetric,
)


def one_hot(size, order):
    """Scores whose best classes are ``order``, best first."""
    scores = torch.zeros(size)
    for place, index in enumerate(order):
        scores[index] = 10.0 - place
    return scores


def action(label, verbs, nouns):
    return dict(
        gt_label=torch.tensor(label),
        pred_verb_score=one_hot(97, verbs),
        pred_noun_score=one_hot(300, nouns),
    )


def test_verb_noun_action():
    metric = VerbNounMetric()
    metric.process(
        None,
        [
            action([3, 7], [3], [7]),  # all right
            action([3, 7], [3], [1, 2, 7]),  # noun third
            action([3, 7], [0, 3], [0, 1, 2, 4, 7]),  # second and fifth
            action([3, 7], [3], [0, 1, 2, 4, 5, 7]),  # noun sixth
        ],
    )
    assert metric.evaluate(4) == {
        'acc/verb_top1': 0.75,
        'acc/noun_top1': 0.25,
        'acc/action_top1': 0.25,
        'acc/verb_top5': 1.0,
        'acc/noun_top5': 0.75,
        'acc/action_top5': 0.75,
        'acc/num_clips': 4,
    }


def test_verb_noun_without_scores():
    with pytest.raises(KeyError, match='pred_verb_score.*VerbNounHead'):
        VerbNounMetric().process(None, [dict(gt_label=torch.tensor([0, 0]))])


def clip(label, best, has_audio=None):
    sample = ActionDataSample()
    sample.set_gt_label(label)
    sample.set_pred_score(one_hot(8, [best]))
    if has_audio is not None:
        sample.set_metainfo(dict(has_audio=has_audio))
    return sample.to_dict()


def test_accuracy_says_how_much_had_sound():
    metric = AudioVisualAccMetric()
    metric.process(None, [clip(1, 1, True), clip(2, 2, True)])
    metric.process(None, [clip(3, 0, True), clip(1, 0, False)])
    result = metric.evaluate(4)
    assert result['acc/top1'] == 0.5
    assert result['acc/num_clips'] == 4
    assert result['acc/with_sound'] == 0.75
    assert result['acc/top1_with_sound'] == pytest.approx(2 / 3)
    assert result['acc/top1_without_sound'] == 0.0


def test_accuracy_where_nobody_recorded_sound():
    metric = AudioVisualAccMetric()
    metric.process(None, [clip(1, 1)])
    result = metric.evaluate(1)
    assert result['acc/num_clips'] == 1
    assert 'acc/with_sound' not in result


def test_classes_without_a_clip_take_no_part_in_the_mean():
    metric = ClipAccMetric()
    metric.process(None, [clip(1, 1), clip(1, 1), clip(1, 7), clip(2, 2)])
    result = metric.evaluate(4)
    assert result['acc/mean1'] == pytest.approx((2 / 3 + 1) / 2)
    assert result['acc/top1'] == 0.75


def test_clips_with_two_labels_are_sent_elsewhere():
    sample = dict(gt_label=torch.tensor([1, 2]), pred_score=torch.zeros(3))
    with pytest.raises(ValueError, match='VerbNounMetric'):
        ClipAccMetric().process(None, [sample])


def test_sound_events():
    metric = SoundEventMetric()
    metric.process(None, [clip(1, 1, True), clip(2, 2, True)])
    result = metric.evaluate(2)
    assert result['acc/mAP'] == result['acc/mAUC'] == 1.0
    assert result['acc/mean1'] == result['acc/with_sound'] == 1.0
