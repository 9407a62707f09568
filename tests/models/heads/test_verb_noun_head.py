# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VerbNounHead against its formulas, written out."""

import pytest
import tiny_models as tiny
import torch
from head_arithmetic import cross_entropy, one_hot, over_views, smoothed

SIZES = dict(verb=4, noun=6)
LABELS = [[0, 5], [3, 1], [2, 0]]
CAST_FUSIONS = dict(
    verb=dict(
        in_channels=dict(temporal=8),
        adapters=dict(temporal=dict(type='Identity')),
    ),
    noun=dict(
        in_channels=dict(spatial=8),
        adapters=dict(spatial=dict(type='Identity')),
    ),
)
HEAD = dict(
    type='VerbNounHead', num_verbs=4, num_nouns=6, fusions=CAST_FUSIONS
)
SMOOTHING = pytest.mark.parametrize('eps', [0.0, 0.1])
TASKS = pytest.mark.parametrize('task', SIZES)


def head_of(**changes):
    return tiny.randomize(tiny.build(HEAD, **changes))


def features(batch=3):
    names = ('spatial', 'temporal', 'audio')
    return {name: torch.randn(batch, 8) for name in names}


def random_scores(batch=3):
    return {task: torch.randn(batch, size) for task, size in SIZES.items()}


def soft_labels(batch=3):
    return {
        task: torch.randn(batch, size).softmax(-1)
        for task, size in SIZES.items()
    }


def loss_of(head, scores, labels):
    return head.loss_by_feat(scores, tiny.samples(labels))


def test_in_cast_each_classifier_reads_one_expert():
    head, feats = head_of(), features()
    logits = head(feats)
    verb = feats['temporal'] @ head.fc_verb.weight.T + head.fc_verb.bias
    noun = feats['spatial'] @ head.fc_noun.weight.T + head.fc_noun.bias
    torch.testing.assert_close(logits['verb'], verb)
    torch.testing.assert_close(logits['noun'], noun)


def test_in_cava_both_read_one_sum():
    widths = dict(audio=8, spatial=8)
    residual = dict.fromkeys(widths, dict(type='ResidualAdapter'))
    own = dict(in_channels=widths, adapters=residual)
    head, feats = head_of(fusions=dict(verb=own, noun='verb')), features()
    assert list(head.fusions) == ['verb']
    adapters = head.fusions['verb'].adapters
    fused = sum(adapters[name](feats[name]) for name in widths)
    logits = head(feats)
    torch.testing.assert_close(logits['verb'], head.fc_verb(fused))
    torch.testing.assert_close(logits['noun'], head.fc_noun(fused))


def test_in_ca2st_audio_joins_both_unless_absent():
    fusions = {
        'verb': dict(in_channels=dict(temporal=8, audio=8)),
        'noun': dict(in_channels=dict(spatial=8, audio=8)),
    }
    head, feats = head_of(fusions=fusions), features()
    adapters = {task: head.fusions[task].adapters for task in SIZES}
    seen = dict(verb='temporal', noun='spatial')
    feats['audio_present'] = torch.tensor([[1.0], [0.0], [1.0]])
    logits = head(feats)
    for task, name in seen.items():
        heard = feats['audio_present'] * adapters[task]['audio'](
            feats['audio']
        )
        fused = adapters[task][name](feats[name]) + heard
        classifier = getattr(head, f'fc_{task}')
        torch.testing.assert_close(logits[task], classifier(fused))


def test_a_missing_expert_raises_by_name():
    feats = features()
    del feats['temporal'], feats['audio']
    with pytest.raises(KeyError, match=r"\['temporal'\].*\['spatial'\]"):
        head_of()(feats)


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
        head_of(fusions=fusions)


@SMOOTHING
@pytest.mark.parametrize('batch', [1, 3])
def test_loss_of_hard_labels(eps, batch):
    scores, labels = random_scores(batch), LABELS[:batch]
    losses = loss_of(head_of(label_smooth_eps=eps), scores, labels)
    for index, (task, size) in enumerate(SIZES.items()):
        targets = [
            smoothed(one_hot(pair[index], size), eps) for pair in labels
        ]
        assert float(losses[f'loss_{task}']) == pytest.approx(
            cross_entropy(scores[task], targets), rel=1e-5
        )


@SMOOTHING
@pytest.mark.parametrize('batch', [1, 3])
def test_loss_of_soft_labels_is_split_and_smoothed(eps, batch):
    scores, soft = random_scores(batch), soft_labels(batch)
    joined = torch.cat([soft['verb'], soft['noun']], dim=-1)
    losses = loss_of(head_of(label_smooth_eps=eps), scores, joined)
    assert set(losses) == {'loss_verb', 'loss_noun'}
    for task, distributions in soft.items():
        targets = [smoothed(row, eps) for row in distributions.tolist()]
        assert float(losses[f'loss_{task}']) == pytest.approx(
            cross_entropy(scores[task], targets), rel=1e-5
        )


@SMOOTHING
@TASKS
@pytest.mark.parametrize('blended', [False, True])
def test_smooths_as_the_head_of_one_task_does(eps, task, blended):
    scores, soft = random_scores(), soft_labels()
    labels = torch.tensor(LABELS)
    one_label = labels[:, list(SIZES).index(task)]
    if blended:
        labels, one_label = torch.cat(list(soft.values()), -1), soft[task]
    single = tiny.build(
        dict(
            type='FusionHead',
            num_classes=SIZES[task],
            in_channels=dict(spatial=8),
            label_smooth_eps=eps,
        )
    )
    both = loss_of(head_of(label_smooth_eps=eps), scores, labels)
    alone = loss_of(single, scores[task], one_label)
    torch.testing.assert_close(both[f'loss_{task}'], alone['loss_cls'])


def test_training_accuracy_counts_hits_of_each_task():
    scores = dict(
        verb=torch.tensor([[4.0, 3, 2, 1]] * 3),
        noun=torch.tensor([[1.0, 2, 3, 4, 5, 6]] * 3),
    )
    losses = loss_of(head_of(topk=(1, 2)), scores, [[0, 5], [1, 4], [2, 5]])
    found = {k: float(v) for k, v in losses.items() if k.endswith('_acc')}
    assert found == pytest.approx(
        dict(
            verb_top1_acc=1 / 3,
            verb_top2_acc=2 / 3,
            noun_top1_acc=2 / 3,
            noun_top2_acc=1,
        )
    )


@SMOOTHING
@pytest.mark.parametrize(
    'label, named',
    [
        ([4, 0], r'verb label lies in 0 to 3.*\[4\]'),
        ([-1, 0], r'verb label lies in 0 to 3.*\[-1\]'),
        ([0, 6], r'noun label lies in 0 to 5.*\[6\]'),
    ],
)
def test_a_label_that_is_no_class_is_named(eps, label, named):
    head = head_of(label_smooth_eps=eps)
    with pytest.raises(ValueError, match=named):
        loss_of(head, random_scores(2), [[0, 0], label])


@pytest.mark.parametrize('label', [[1], [1, 2, 3], torch.rand(9)])
def test_a_label_of_another_form_is_named(label):
    with pytest.raises(ValueError, match=r'soft vector of 4 \+ 6 numbers'):
        loss_of(head_of(), random_scores(1), [label])


@TASKS
@pytest.mark.parametrize('soft', [False, True])
def test_bfloat16_scores_give_a_float32_loss(task, soft):
    scores = {k: v.bfloat16() for k, v in random_scores().items()}
    targets = {
        name: [one_hot(pair[index], size) for pair in LABELS]
        for index, (name, size) in enumerate(SIZES.items())
    }
    labels = LABELS
    if soft:
        parts = [torch.tensor(target) for target in targets.values()]
        labels = torch.cat(parts, dim=-1)
    loss = loss_of(head_of(), scores, labels)[f'loss_{task}']
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(
        cross_entropy(scores[task], targets[task]), rel=1e-5
    )


@TASKS
@pytest.mark.parametrize('how', ['prob', 'score', None])
@pytest.mark.parametrize('views', [1, 4])
def test_views_are_averaged(how, views, task):
    head, feats = head_of(average_clips=how), features(3 * views)
    samples = head.predict(feats, tiny.samples(LABELS))
    expected = over_views(head(feats)[task], views, how)
    for sample, scores in zip(samples, expected, strict=True):
        found = sample.get(f'pred_{task}_score')
        torch.testing.assert_close(found, scores)
        best = sample.get(f'pred_{task}_label').flatten().tolist()
        assert best == scores.reshape(-1, SIZES[task]).argmax(-1).tolist()
