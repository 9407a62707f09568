# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The columns of EPIC-KITCHENS-100 and the file for its server."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ca2st_mm.evaluation import (
    ClipAccMetric,
    EpicKitchensMetric,
    EpicKitchensSubmission,
    EpicSoundsSubmission,
)
from ca2st_mm.evaluation.clip_metrics import participant_of

VERBS, NOUNS = 9, 13  # more than 100 pairs
TASKS = ('verb', 'noun', 'action')
SHARED = Path(__file__).resolve().parents[2].parent / 'shared'
LISTS = SHARED / 'annotations' / 'epic_kitchens_100'


def clips(count=80, seed=0):
    """Random predictions of participants P01 to P04."""
    torch.manual_seed(seed)
    return [
        dict(
            filename=f'videos/P{1 + i % 4:02d}_10_{i}.mp4',
            gt_label=torch.stack(
                (torch.randint(VERBS, ()), torch.randint(NOUNS, ()))
            ),
            pred_verb_score=(2 * torch.randn(VERBS)).softmax(0),
            pred_noun_score=(2 * torch.randn(NOUNS)).softmax(0),
        )
        for i in range(count)
    ]


def evaluate(metric, samples):
    metric.process(None, samples[:7])
    metric.process(None, samples[7:])
    numbers = metric.evaluate(len(samples))
    return {key.removeprefix('acc/'): v for key, v in numbers.items()}


def right(sample, task, k=1):
    index = 0 if task == 'verb' else 1
    best = sample[f'pred_{task}_score'].argsort(descending=True)[:k]
    return sample['gt_label'][index] in best


def both(sample, k=1):
    return right(sample, 'verb', k) and right(sample, 'noun', k)


def pairs_in_order(sample):
    """All (verb, noun), the most probable first."""
    pairs = {
        (v, n): float(p.double() * q.double())
        for v, p in enumerate(sample['pred_verb_score'])
        for n, q in enumerate(sample['pred_noun_score'])
    }
    return sorted(pairs, key=lambda pair: -pairs[pair])


def share(values):
    values = list(values)
    return pytest.approx(sum(values) / len(values))


def test_columns_against_loops():
    samples = clips()
    numbers = evaluate(
        EpicKitchensMetric(
            unseen_participants=['P02'], tail_verbs=[0, 1], tail_nouns=[3]
        ),
        samples,
    )
    assert numbers['action_top5'] == share(both(s, 5) for s in samples)
    for k in (1, 5):
        assert numbers[f'action_product_top{k}'] == share(
            tuple(s['gt_label'].tolist()) in pairs_in_order(s)[:k]
            for s in samples
        )
    assert numbers['action_product_top1'] == numbers['action_top1']
    assert numbers['action_product_top5'] < numbers['action_top5']
    assert numbers['unseen_num_clips'] == 20
    in_subset = dict(
        unseen=dict.fromkeys(TASKS, lambda s: '/P02_' in s['filename']),
        tail=dict(
            verb=lambda s: s['gt_label'][0] < 2,
            noun=lambda s: s['gt_label'][1] == 3,
            action=lambda s: s['gt_label'][0] < 2 or s['gt_label'][1] == 3,
        ),
    )
    for subset, conditions in in_subset.items():
        for task, condition in conditions.items():
            some = [s for s in samples if condition(s)]
            if subset == 'tail':
                assert numbers[f'tail_{task}_num_clips'] == len(some) > 0
            assert numbers[f'{subset}_{task}_top1'] == share(
                both(s) if task == 'action' else right(s, task) for s in some
            )
    verb, noun = numbers['verb_top1'], numbers['noun_top1']
    harmonic = 2 * verb * noun / (verb + noun)
    assert numbers['harmonic_verb_noun'] == pytest.approx(harmonic)


def test_an_empty_subset_has_a_count_and_no_accuracy():
    numbers = evaluate(
        EpicKitchensMetric(['P99'], tail_verbs=[], tail_nouns=[]), clips()
    )
    assert numbers['unseen_num_clips'] == 0
    assert numbers['tail_action_num_clips'] == 0
    assert not {'unseen_verb_top1', 'tail_verb_top1'} & set(numbers)


def test_official_lists():
    if not LISTS.is_dir():
        pytest.skip('../shared/annotations is not next to this checkout')
    metric = EpicKitchensMetric(
        str(LISTS / 'EPIC_100_unseen_participant_ids_validation.csv'),
        str(LISTS / 'EPIC_100_tail_verbs.csv'),
        str(LISTS / 'EPIC_100_tail_nouns.csv'),
    )
    assert metric.unseen == {'P18', 'P32'}
    assert (len(metric.tail['verb']), len(metric.tail['noun'])) == (86, 228)
    # The authors' notebook counts 1065 validation clips of P18 and P32.
    lines = (LISTS / 'EPIC_100_validation.csv').read_text().splitlines()[1:]
    unseen = [participant_of(line) in metric.unseen for line in lines]
    assert (len(lines), sum(unseen)) == (9668, 1065)


def test_bad_lists_and_names(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.csv.*None'):
        EpicKitchensMetric(tail_verbs=str(tmp_path / 'nowhere.csv'))
    (tmp_path / 'list.csv').write_text('noun\n3\n')
    with pytest.raises(ValueError, match="no column 'verb'"):
        EpicKitchensMetric(tail_verbs=str(tmp_path / 'list.csv'))
    with pytest.raises(ValueError, match=r"'clip\.mp4' does not begin"):
        EpicKitchensMetric(['P01']).process(
            None, [dict(clips(1)[0], filename='clip.mp4')]
        )


def test_products_need_probabilities():
    logits = dict(clips(1)[0], pred_verb_score=torch.randn(VERBS))
    with pytest.raises(ValueError, match="average_clips='prob'"):
        EpicKitchensMetric().process(None, [logits])


def test_submission_of_actions(tmp_path):
    samples = clips(9)
    out = tmp_path / 'new' / 'test.json'
    metric = EpicKitchensSubmission(str(out), dict(sls_pt=2, version='9'))
    assert evaluate(metric, samples) == {
        'submission/num_clips': 9,
        'submission/num_used': 9,
        'submission/num_expected': 9,
    }
    written = json.loads(out.read_text())
    assert written['challenge'] == 'action_recognition'
    assert (written['sls_pt'], written['version']) == (2, '9')
    assert len(written['results']) == 9
    for sample in samples:
        entry = written['results'][Path(sample['filename']).stem]
        scores = [entry['verb'][str(i)] for i in range(VERBS)]
        np.testing.assert_allclose(
            scores, sample['pred_verb_score'], rtol=1e-5
        )
        best = pairs_in_order(sample)[:100]
        assert list(entry['action']) == [f'{v},{n}' for v, n in best]


def test_submission_of_sounds(tmp_path):
    """With every clip; it says how many could not be read."""
    score = torch.randn(44).softmax(0)
    sample = dict(filename='P02/P02_106.mp4', pred_score=score)
    read = dict(sample, clip_id='P02_106_0')
    torn = dict(sample, clip_id='P02_106_1', unreadable='torn')
    out = tmp_path / 'sounds.json'
    assert evaluate(EpicSoundsSubmission(str(out), {}), [read, torn]) == {
        'submission/num_clips': 2,
        'submission/num_used': 1,
        'submission/num_expected': 2,
    }
    entries = json.loads(out.read_text())['results']
    assert list(entries) == ['P02_106_0', 'P02_106_1']
    assert len(entries['P02_106_0']['interaction']) == 44
    # Without ids, the clips of a whole video cannot be told apart.
    metric = EpicSoundsSubmission(str(out), {})
    metric.process(None, [sample, sample])
    with pytest.raises(ValueError, match="id 'P02_106'.*clip_id"):
        metric.evaluate(2)


@pytest.mark.parametrize('kind', [EpicKitchensMetric, ClipAccMetric])
def test_a_metric_says_that_it_needs_labels(kind):
    with pytest.raises(ValueError, match=f'{kind.__name__}.*a.mp4.*Submissi'):
        kind().process(None, [dict(filename='a.mp4')])
