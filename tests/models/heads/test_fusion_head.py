# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""FusionHead against its formulas, written out."""

import pytest
import tiny_models as tiny
import torch
from head_arithmetic import cross_entropy, one_hot, over_views, smoothed
from torch.nn import functional as F

from ca2st_mm.models.layers import ExpertFusion

CLASSES = 7
WIDTHS = dict(spatial=8, temporal=12)
LABELS = [1, 6, 0]
HEAD = dict(
    type='FusionHead',
    num_classes=CLASSES,
    in_channels=WIDTHS,
    out_channels=8,
)
REDUCTIONS = pytest.mark.parametrize('reduction', ['sum', 'mean'])
SMOOTHING = pytest.mark.parametrize('eps', [0.0, 0.1])


def head_of(**changes):
    return tiny.randomize(tiny.build(HEAD, **changes))


def features(batch=3):
    return {name: torch.randn(batch, dims) for name, dims in WIDTHS.items()}


def by_hand(head, feats, weights):
    """Logits of the weighted sum of plain adapters."""
    fused = 0
    for name, weight in weights.items():
        parts = head.fusion.adapters[name]
        hidden = F.gelu(feats[name] @ parts.down.weight.T + parts.down.bias)
        fused = fused + weight * (hidden @ parts.up.weight.T + parts.up.bias)
    return fused @ head.fc_cls.weight.T + head.fc_cls.bias


def loss_of(head, scores, labels):
    return head.loss_by_feat(scores, tiny.samples(labels))


@REDUCTIONS
def test_logits_fuse_one_adapter_per_expert(reduction):
    head, feats = head_of(reduction=reduction), features()
    weight = dict(sum=1, mean=1 / 2)[reduction]
    expected = by_hand(head, feats, dict.fromkeys(WIDTHS, weight))
    torch.testing.assert_close(head(feats), expected)


@REDUCTIONS
def test_an_absent_expert_takes_no_part(reduction):
    head, feats = head_of(reduction=reduction), features()
    expected = by_hand(head, feats, dict(temporal=1))
    torch.testing.assert_close(
        head(dict(temporal=feats['temporal'])), expected
    )


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
    factors = dict(
        spatial_present=torch.tensor([[1.0], [0.0], [1.0], [0.0]]),
        temporal_present=torch.tensor([[1.0], [1.0], [0.0], [0.0]]),
    )
    columns = [torch.tensor(weight)[:, None] for weight in weights]
    expected = by_hand(head, feats, dict(zip(WIDTHS, columns, strict=True)))
    logits = head(dict(feats, **factors))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(logits[3], head.fc_cls.bias)


def test_residual_and_identity_adapters():
    kinds = dict(first='ResidualAdapter', second='Identity')
    head = head_of(
        in_channels=dict.fromkeys(kinds, 8),
        adapters={name: dict(type=kind) for name, kind in kinds.items()},
    )
    feats = {name: torch.randn(3, 8) for name in kinds}
    first = head.fusion.adapters['first']
    hidden = F.gelu(first.down(feats['first']))
    fused = feats['first'] + first.up(hidden) + feats['second']
    torch.testing.assert_close(head(feats), head.fc_cls(fused))


def test_features_of_other_experts_only_raise_with_both_names():
    with pytest.raises(KeyError, match=r"spatial.*temporal.*'flow'"):
        head_of()(dict(flow=torch.randn(3, 8)))


@SMOOTHING
def test_loss_of_hard_labels(eps):
    scores = torch.randn(3, CLASSES)
    losses = loss_of(head_of(label_smooth_eps=eps), scores, LABELS)
    targets = [smoothed(one_hot(k, CLASSES), eps) for k in LABELS]
    assert float(losses['loss_cls']) == pytest.approx(
        cross_entropy(scores, targets), rel=1e-5
    )


@SMOOTHING
@pytest.mark.parametrize('batch', [1, 3])
def test_loss_of_soft_labels_smooths_them_too(eps, batch):
    scores = torch.randn(batch, CLASSES)
    soft = torch.randn(batch, CLASSES).softmax(-1)
    losses = loss_of(head_of(label_smooth_eps=eps), scores, soft)
    targets = [smoothed(row, eps) for row in soft.tolist()]
    assert set(losses) == {'loss_cls'}  # no accuracy of a soft label
    assert float(losses['loss_cls']) == pytest.approx(
        cross_entropy(scores, targets), rel=1e-5
    )


def test_topk_may_be_a_list_as_in_a_config_of_json():
    assert head_of(topk=[1, 2]).topk == (1, 2)


def test_training_accuracy_counts_hits():
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    head = head_of(num_classes=3, topk=(1, 2))
    losses = loss_of(head, scores, [0, 1, 1, 2])
    assert float(losses['top1_acc']) == pytest.approx(1 / 4)
    assert float(losses['top2_acc']) == pytest.approx(3 / 4)


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


@pytest.mark.parametrize('soft', [False, True])
def test_bfloat16_scores_give_a_float32_loss(soft):
    scores = torch.randn(3, CLASSES).bfloat16()
    targets = [one_hot(k, CLASSES) for k in LABELS]
    labels = torch.tensor(targets) if soft else LABELS
    loss = loss_of(head_of(), scores, labels)['loss_cls']
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(
        cross_entropy(scores, targets), rel=1e-5
    )


@pytest.mark.parametrize('how', ['prob', 'score', None])
@pytest.mark.parametrize('views', [1, 4])
def test_views_are_averaged(how, views):
    head, feats = head_of(average_clips=how), features(3 * views)
    samples = head.predict(feats, tiny.samples(LABELS))
    expected = over_views(head(feats), views, how)
    for sample, scores in zip(samples, expected, strict=True):
        torch.testing.assert_close(sample.pred_score, scores)
        best = sample.pred_label.flatten().tolist()
        assert best == scores.reshape(-1, CLASSES).argmax(-1).tolist()


def test_fusion_sums_or_averages_what_is_there():
    feats = dict(a=torch.randn(2, 8), b=torch.randn(2, 8))
    same = dict(a=dict(type='Identity'), b=dict(type='ResidualAdapter'))
    total = ExpertFusion(dict(a=8, b=8), same)(feats)
    assert torch.equal(total, feats['a'] + feats['b'])
    mean = ExpertFusion(dict(a=8, b=8), same, reduction='mean')
    assert torch.equal(mean(feats), total / 2)
    assert torch.equal(mean(dict(a=feats['a'])), feats['a'])


def test_fusion_leaves_absent_samples_out():
    same = dict(a=dict(type='Identity'), b=dict(type='Identity'))
    fuse = ExpertFusion(dict(a=8, b=8), same, reduction='mean')
    feats = dict(a=torch.randn(2, 8), b=torch.randn(2, 8))
    fused = fuse(dict(feats, b_present=torch.tensor([[0.0], [1.0]])))
    assert torch.equal(fused[0], feats['a'][0])
    assert torch.equal(fused[1], (feats['a'] + feats['b'])[1] / 2)


def test_features_of_several_widths_need_the_width_of_their_sum():
    with pytest.raises(ValueError, match='out_channels'):
        ExpertFusion(dict(a=8, b=12))
    fuse = ExpertFusion(dict(a=8, b=12), out_channels=6)
    feats = dict(a=torch.randn(2, 8), b=torch.randn(2, 12))
    assert fuse(feats).shape == (2, 6)


def test_fusion_names_what_does_not_fit():
    with pytest.raises(ValueError, match="'ghost'"):
        ExpertFusion(dict(a=8), dict(ghost=dict(type='Adapter')))
    with pytest.raises(ValueError, match='max'):
        ExpertFusion(dict(a=8), reduction='max')
    with pytest.raises(ValueError, match="'MLP'"):
        ExpertFusion(dict(a=8), dict(a=dict(type='MLP')))
    with pytest.raises(KeyError, match=r"\['a'\].*\['b'\]"):
        ExpertFusion(dict(a=8))(dict(b=torch.randn(2, 8)))
