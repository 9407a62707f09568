# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Heads and the fusion of experts against their formulas."""

import math

import pytest
import tiny_models as tiny
import torch
from torch.nn import functional as F

from ca2st_mm.models.layers import ExpertFusion
from ca2st_mm.structures import Stream

CLASSES = 7
WIDTHS = dict(spatial=8, temporal=12)
LABELS = [1, 6, 0]
HEAD = dict(
    type='FusionHead', num_classes=CLASSES, in_channels=WIDTHS, out_channels=8
)
SIZES = dict(verb=4, noun=6)
PAIRS = [[0, 5], [3, 1], [2, 0]]
IDENTITY = dict(type='Identity')
CAST_FUSIONS = dict(
    verb=dict(in_channels=dict(temporal=8), adapters=dict(temporal=IDENTITY)),
    noun=dict(in_channels=dict(spatial=8), adapters=dict(spatial=IDENTITY)),
)
VERB_NOUN = dict(
    type='VerbNounHead', num_verbs=4, num_nouns=6, fusions=CAST_FUSIONS
)
SMOOTHING = pytest.mark.parametrize('eps', [0.0, 0.1])
TASKS = pytest.mark.parametrize('task', SIZES)
AVERAGES = pytest.mark.parametrize('how', ['prob', 'score', None])
VIEWS = pytest.mark.parametrize('views', [1, 4])


def head_of(cfg=HEAD, **changes):
    return tiny.noisy(cfg, **changes)


def features(batch=3, **widths):
    widths = widths or WIDTHS
    return {name: torch.randn(batch, dims) for name, dims in widths.items()}


def loss_of(head, scores, labels):
    return head.loss_by_feat(scores, tiny.samples(labels))


def by_hand(head, feats, weights):
    """Logits of the weighted sum of plain adapters."""
    fused = 0
    for name, weight in weights.items():
        parts = head.fusion.adapters[name]
        hidden = F.gelu(feats[name] @ parts.down.weight.T + parts.down.bias)
        fused = fused + weight * (hidden @ parts.up.weight.T + parts.up.bias)
    return fused @ head.fc_cls.weight.T + head.fc_cls.bias


def cross_entropy(scores, targets, eps=0.0):
    """Mean over rows of -sum(p * log q), p smoothed, in float64."""
    rows = []
    for row, target in zip(scores.double().tolist(), targets, strict=True):
        total = math.log(sum(math.exp(score) for score in row))
        rows.append(
            sum(
                ((1 - eps) * p + eps / len(row)) * (total - score)
                for p, score in zip(target, row, strict=True)
            )
        )
    return pytest.approx(sum(rows) / len(rows), rel=1e-5)


def over_views(scores, views, how):
    """Scores (B * views, K), views of a clip together, to one a clip."""
    clips = []
    for first in range(0, len(scores), views):
        rows = scores[first : first + views]
        if how == 'prob':
            rows = torch.stack([row.exp() / row.exp().sum() for row in rows])
        clips.append(rows if how is None else sum(rows) / views)
    return torch.stack(clips)


# -- one classifier ---------------------------------------------------------


@pytest.mark.parametrize(
    'reduction, weights',
    [
        ('sum', ([1, 0, 1, 0], [1, 1, 0, 0])),
        ('mean', ([1 / 2, 0, 1, 0], [1 / 2, 1, 0, 0])),
    ],
)
def test_presence_counts_sample_by_sample(reduction, weights):
    """Both, one, the other, none: then only the bias is left."""
    head, feats = head_of(reduction=reduction), features(4)
    present = ([1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0])
    streams = {
        name: Stream(feats[name], present=torch.tensor(factor)[:, None])
        for name, factor in zip(WIDTHS, present, strict=True)
    }
    columns = [torch.tensor(weight)[:, None] for weight in weights]
    expected = by_hand(head, feats, dict(zip(WIDTHS, columns, strict=True)))
    logits = head(streams)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(logits[3], head.fc_cls.bias)


def test_what_does_not_fit_a_fusion_is_named():
    with pytest.raises(ValueError, match='out_channels'):
        ExpertFusion(dict(a=8, b=12))
    with pytest.raises(ValueError, match="'ghost'"):
        ExpertFusion(dict(a=8), dict(ghost=dict(type='Adapter')))
    with pytest.raises(ValueError, match='max'):
        ExpertFusion(dict(a=8), reduction='max')
    with pytest.raises(ValueError, match="'MLP'"):
        ExpertFusion(dict(a=8), dict(a=dict(type='MLP')))
    with pytest.raises(KeyError, match=r"\['a'\].*\['b'\]"):
        ExpertFusion(dict(a=8))(dict(b=torch.randn(2, 8)))


@SMOOTHING
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('batch', [1, 3])
def test_loss_of_hard_and_soft_labels(eps, dtype, batch):
    scores = torch.randn(batch, CLASSES).to(dtype)
    hard = torch.eye(CLASSES)[LABELS[:batch]]
    soft = torch.randn(batch, CLASSES).softmax(-1)
    head = head_of(label_smooth_eps=eps)
    losses = loss_of(head, scores, LABELS[:batch])
    assert losses['loss_cls'].dtype == torch.float32
    expected = cross_entropy(scores, hard.tolist(), eps)
    assert float(losses['loss_cls']) == expected
    losses = loss_of(head, scores, soft)
    assert set(losses) == {'loss_cls'}  # no accuracy of a soft label
    expected = cross_entropy(scores, soft.tolist(), eps)
    assert float(losses['loss_cls']) == expected


@SMOOTHING
@pytest.mark.parametrize('label', [-1, CLASSES, -100])
def test_a_label_that_is_no_class_is_named(eps, label):
    head = head_of(label_smooth_eps=eps)
    with pytest.raises(ValueError, match=rf'0 to {CLASSES - 1}.*\[{label}\]'):
        loss_of(head, torch.randn(3, CLASSES), [0, label, 2])


def test_a_soft_label_of_another_length_is_named():
    soft = torch.full((3, CLASSES + 2), 1 / (CLASSES + 2))
    with pytest.raises(ValueError, match=rf'{CLASSES} numbers.*\(9,\)'):
        loss_of(head_of(), torch.randn(3, CLASSES), soft)


# -- verbs and nouns --------------------------------------------------------


def reading(*experts, kind='Adapter'):
    return dict(
        in_channels=dict.fromkeys(experts, 8),
        adapters=dict.fromkeys(experts, dict(type=kind)),
    )


FAMILIES = dict(
    cast=CAST_FUSIONS,
    cava=dict(
        verb=reading('audio', 'spatial', kind='ResidualAdapter'), noun='verb'
    ),
    ca2st=dict(
        verb=reading('temporal', 'audio'), noun=reading('spatial', 'audio')
    ),
)


@pytest.mark.parametrize('family', FAMILIES)
def test_each_task_reads_its_experts_that_are_present(family):
    fusions = FAMILIES[family]
    head = head_of(VERB_NOUN, fusions=fusions)
    feats = features(spatial=8, temporal=8, audio=8)
    present = torch.tensor([[1.0], [0.0], [1.0]])
    logits = head(dict(feats, audio=Stream(feats['audio'], present=present)))
    for task in SIZES:
        source = 'verb' if fusions[task] == 'verb' else task
        fused = sum(
            (present if name == 'audio' else 1) * adapter(feats[name])
            for name, adapter in head.fusions[source].adapters.items()
        )
        assert set(head.fusions[source].adapters) == set(
            fusions[source]['in_channels']
        )
        expected = getattr(head, f'fc_{task}')(fused)
        torch.testing.assert_close(logits[task], expected)
    with pytest.raises(KeyError, match='the head fuses'):
        head({})


@pytest.mark.parametrize(
    'fusions',
    [
        dict(verb='noun', noun='verb'),
        dict(verb=CAST_FUSIONS['verb']),
        dict(CAST_FUSIONS, action='verb'),
    ],
)
def test_fusions_must_describe_both_tasks(fusions):
    with pytest.raises(ValueError, match="describes 'verb' and 'noun'"):
        head_of(VERB_NOUN, fusions=fusions)


@SMOOTHING
@TASKS
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('batch', [1, 3])
def test_each_task_learns_as_the_head_of_one_task(
    eps, task, soft, dtype, batch
):
    scores = {k: v.to(dtype) for k, v in features(batch, **SIZES).items()}
    parts = {k: v.softmax(-1) for k, v in features(batch, **SIZES).items()}
    labels = torch.tensor(PAIRS[:batch])
    one_label = labels[:, list(SIZES).index(task)]
    if soft:
        labels, one_label = torch.cat(list(parts.values()), -1), parts[task]
    single = head_of(
        num_classes=SIZES[task],
        in_channels=dict(spatial=8),
        label_smooth_eps=eps,
    )
    both = loss_of(head_of(VERB_NOUN, label_smooth_eps=eps), scores, labels)
    alone = loss_of(single, scores[task], one_label)
    assert both[f'loss_{task}'].dtype == torch.float32
    torch.testing.assert_close(both[f'loss_{task}'], alone['loss_cls'])
    if soft:
        assert set(both) == {'loss_verb', 'loss_noun'}


def test_training_accuracy_counts_hits_of_each_task():
    scores = dict(
        verb=torch.tensor([[4.0, 3, 2, 1]] * 3),
        noun=torch.tensor([[1.0, 2, 3, 4, 5, 6]] * 3),
    )
    head = head_of(VERB_NOUN, topk=(1, 2))
    losses = loss_of(head, scores, [[0, 5], [1, 4], [2, 5]])
    found = {k: float(v) for k, v in losses.items() if k.endswith('_acc')}
    expected = {'verb_top1_acc': 1, 'verb_top2_acc': 2}
    expected |= {'noun_top1_acc': 2, 'noun_top2_acc': 3}
    assert found == pytest.approx({k: n / 3 for k, n in expected.items()})


@SMOOTHING
@pytest.mark.parametrize(
    'label, named',
    [
        ([4, 0], r'verb label lies in 0 to 3.*\[4\]'),
        ([-1, 0], r'verb label lies in 0 to 3.*\[-1\]'),
        ([0, 6], r'noun label lies in 0 to 5.*\[6\]'),
        ([1, 2, 3], r'soft vector of 4 \+ 6 numbers'),
        (torch.rand(9), r'soft vector of 4 \+ 6 numbers'),
    ],
)
def test_a_label_that_fits_no_task_is_named(eps, label, named):
    head = head_of(VERB_NOUN, label_smooth_eps=eps)
    with pytest.raises(ValueError, match=named):
        loss_of(head, features(1, **SIZES), [label])


@TASKS
@AVERAGES
@VIEWS
def test_views_of_each_task_are_averaged(how, views, task):
    head = head_of(VERB_NOUN, average_clips=how)
    feats = features(3 * views, spatial=8, temporal=8)
    samples = head.predict(feats, tiny.samples(PAIRS))
    expected = over_views(head(feats)[task], views, how)
    for sample, scores in zip(samples, expected, strict=True):
        found = sample.get(f'pred_{task}_score')
        torch.testing.assert_close(found, scores)
        best = sample.get(f'pred_{task}_label').flatten().tolist()
        assert best == scores.reshape(-1, SIZES[task]).argmax(-1).tolist()


# -- classes that do not exclude each other ---------------------------------


@VIEWS
@AVERAGES
def test_each_class_has_a_probability_of_its_own(how, views):
    head = head_of(
        dict(type='MultiLabelHead', num_classes=CLASSES, in_channels=8),
        average_clips=how,
    )
    feats = torch.randn(2 * views, 8)
    normed = F.layer_norm(feats, (8,), head.norm.weight, head.norm.bias)
    scores = normed @ head.fc_cls.weight.T + head.fc_cls.bias
    torch.testing.assert_close(head(feats), scores)
    by_class = 1 / (1 + torch.exp(-scores)) if how == 'prob' else scores
    expected = by_class.unflatten(0, (2, views))
    if how is not None:
        expected = expected.mean(1)
    torch.testing.assert_close(head.average_clip(scores, views), expected)


def test_its_loss_takes_every_class_by_itself():
    head = head_of(
        dict(type='MultiLabelHead', num_classes=CLASSES, in_channels=8)
    )
    scores = torch.randn(3, CLASSES)
    labels = (torch.rand(3, CLASSES) > 0.5).float()
    p = 1 / (1 + torch.exp(-scores))
    expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    found = loss_of(head, scores, list(labels))
    torch.testing.assert_close(found['loss_cls'], expected)
