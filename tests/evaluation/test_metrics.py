# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics against numbers worked out by hand."""

import pytest
import torch
from mmaction.structures import ActionDataSample

from ca2st_mm.evaluation import (
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


def clip(label, best, has_audio=None):
    sample = ActionDataSample()
    sample.set_gt_label(label)
    sample.set_pred_score(one_hot(8, [best]))
    if has_audio is not None:
        sample.set_metainfo(dict(has_audio=has_audio))
    return sample.to_dict()


def test_accuracy_says_how_much_had_audio():
    metric = ClipAccMetric()
    metric.process(None, [clip(1, 1, True), clip(2, 2, True)])
    metric.process(None, [clip(3, 0, True), clip(1, 0, False)])
    result = metric.evaluate(4)
    assert result['acc/top1'] == 0.5
    assert result['acc/num_clips'] == 4
    assert result['acc/with_audio'] == 0.75
    assert result['acc/top1_with_audio'] == pytest.approx(2 / 3)
    assert result['acc/top1_without_audio'] == 0.0
    metric.process(None, [clip(1, 1)])  # not recorded
    assert 'acc/with_audio' not in metric.evaluate(1)


def test_sound_events_of_some_participants():
    """As if there were no other clips."""
    metric = SoundEventMetric(unseen_participants=['P18'])
    some = SoundEventMetric()
    for name, label, best in [
        ('P18_1.mp4', 1, 1),
        ('P18-2.mp4', 2, 1),
        ('P01_18.mp4', 1, 2),
    ]:
        sample = dict(clip(label, best, True), filename=f'a/{name}')
        metric.process(None, [sample])
        if 'P18' in name:
            some.process(None, [sample])
    result, expected = metric.evaluate(3), some.evaluate(2)
    assert result['acc/unseen_num_clips'] == 2
    assert result['acc/top1'] != expected['acc/top1']
    for name in ('top1', 'mean1'):
        assert result[f'acc/unseen_{name}'] == expected[f'acc/{name}']


METRICS = [ClipAccMetric, SoundEventMetric]


@pytest.fixture
def log(monkeypatch):
    """What is said to the logger of the run."""
    said = []
    monkeypatch.setattr(
        'ca2st_mm.evaluation.clip_metrics.print_log',
        lambda text, **_: said.append(text),
    )
    return said


@pytest.mark.parametrize('kind', METRICS)
def test_views_that_the_head_left_apart_are_averaged(kind):
    """``average_clips=None``; the annotation file was blamed before."""
    views = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(0))
    apart, averaged = kind(), kind()
    for label, scores in enumerate(views):
        common = dict(gt_label=torch.tensor([label]), has_audio=True)
        apart.process(None, [dict(common, pred_score=scores)])
        averaged.process(None, [dict(common, pred_score=scores.mean(0))])
    assert apart.evaluate(2) == pytest.approx(averaged.evaluate(2))


@pytest.mark.parametrize('kind', METRICS)
def test_unreadable_clips_take_no_part(kind, log):
    readable = [clip(1, 1, True), clip(2, 2, False), clip(3, 0, True)]
    marked = dict(clip(4, 4, True), unreadable='no frames')
    alone, both = kind(), kind()
    alone.process(None, readable)
    both.process(None, [*readable, marked])
    counts = {'acc/num_used': 3, 'acc/num_expected': 4}
    assert both.evaluate(4) == {**alone.evaluate(3), **counts}
    assert any('3 of 4 clips used' in text for text in log)
    with pytest.raises(ValueError, match='None of the 1 clips'):
        both.process(None, [marked])
        both.evaluate(1)


def named(name, label, best):
    return dict(clip(label, best), filename=name)


def test_clips_that_are_listed_twice_are_reported(log):
    metric = ClipAccMetric()
    metric.process(None, [named('a', 1, 1), named('b', 2, 2)])
    # Other spans of one file have the same name, and other scores.
    metric.process(None, [named('b', 2, 3)])
    metric.evaluate(3)
    assert not log
    metric.process(None, [named('a', 1, 1), named('a', 1, 1)])
    metric.evaluate(2)
    assert 'more than once' in log[-1] and 'different labels' not in log[-1]
    metric.process(None, [named('a', 1, 1), named('a', 2, 1)])
    metric.evaluate(2)
    assert '1 of them with different labels' in log[-1]


@pytest.mark.parametrize('kind', [ClipAccMetric, VerbNounMetric])
@pytest.mark.parametrize('verbs, nouns', [(1, 3), (3, 1), (3, 3)])
def test_a_single_class_is_reported(log, kind, verbs, nouns):
    """Of a part, too; ``VerbNounMetric`` said nothing."""
    sample = dict(
        pred_score=torch.rand(verbs),
        pred_verb_score=torch.rand(verbs),
        pred_noun_score=torch.rand(nouns),
    )
    label = [0] if kind is ClipAccMetric else [0, 0]
    metric = kind(topk=(1,))
    metric.process(None, [dict(sample, gt_label=torch.tensor(label))])
    metric.evaluate(1)
    assert bool(log) == (1 in (verbs, nouns)[: len(label)])
