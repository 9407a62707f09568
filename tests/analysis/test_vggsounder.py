# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Scores of VGGSounder are those of its own package."""

import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from score_vggsounder import (
    load_labels,
    modality_confusion,
    multi_label_scores,
)
from tool_runs import run_tool

from ca2st_mm.datasets.benchmarks import shipped_names

CLIPS = 150
TOOL = 'analysis/score_vggsounder.py'


def test_scores_of_three_clips_are_those_of_hand():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    scores = np.array([[3, 2, 1], [3, 2, 1], [1, 2, 3]])
    found = multi_label_scores(truth, scores, (1, 2))
    assert found['hit_rate@1'] == pytest.approx(2 / 3)
    # 2 of 3 chosen are right, of 4 labels; then 4 of 6, of 4 labels
    assert found['f1@1'] == pytest.approx(2 * 2 / (3 + 4))
    assert found['f1@2'] == pytest.approx(2 * 4 / (6 + 4))
    assert found['hit_rate@2'] == 1
    other = np.array([[1, 3, 2], [1, 3, 2], [3, 2, 1]])
    mu = modality_confusion(truth, dict(av=scores, a=other, v=scores))
    assert mu == dict(a=pytest.approx(1 / 3), v=0, av=0)


@pytest.fixture(scope='module')
def package():
    """Its own scoring, which asks for pandas."""
    return pytest.importorskip('vggsounder.benchmark')


@pytest.fixture(scope='module')
def synthetic():
    """Clips of VGGSounder and scores with some truth, by input."""
    labels, rng = load_labels(), np.random.default_rng(0)
    clips = list(labels.by_clip)[:: len(labels.by_clip) // CLIPS]
    truth = labels.matrix(clips, 'all')
    scores = {
        key: rng.normal(size=truth.shape) + 2 * truth for key in ('a', 'v')
    }
    scores['av'] = scores['a'] + 0.2 * rng.normal(size=truth.shape)
    return labels, clips, scores


@pytest.mark.parametrize('subset', ['all', 'v', 'a only'])
def test_scores_are_those_of_the_package(package, synthetic, subset):
    pandas = pytest.importorskip('pandas')
    labels, clips, scores = synthetic
    assert sorted(shipped_names('vggsound.txt')) == sorted(labels.classes)
    truth = labels.matrix(clips, subset)
    used = truth.any(axis=1)
    found = multi_label_scores(truth[used], scores['av'][used], (1, 5))
    found.pop('clips')
    world = package.VGGSounder(background_music=None)
    expected = package.compare_labels_logits(
        package.get_gt_for_modality(world, subset, set(clips)),
        pandas.DataFrame(dict(id=clips, logits=list(scores['av']))),
        labels.classes,
        [1, 5],
    )
    assert found == pytest.approx({k: expected[k] for k in found})


def test_confusion_is_that_of_the_package(package, synthetic):
    pandas = pytest.importorskip('pandas')
    labels, clips, scores = synthetic
    world = package.VGGSounder(background_music=None)
    frames = {
        key: pandas.DataFrame(dict(id=clips, logits=list(values)))
        for key, values in scores.items()
    }
    expected = package.compute_modality_confusion_logits(
        package.get_gt_for_modality(world, 'all', set(clips)),
        frames['av'],
        frames['a'],
        frames['v'],
        labels.classes,
    )
    found = modality_confusion(labels.matrix(clips, 'all'), scores)
    assert found == pytest.approx(expected)
    assert found['a'] > 0


@pytest.fixture
def labels(monkeypatch):
    """Labels as the package has them, in an order that is not ours."""
    names = [f'class {n}' for n in range(9)]
    rng = np.random.default_rng(0)
    by_clip = {
        f'clip_{n:06d}': SimpleNamespace(
            labels=[str(name) for name in rng.choice(names, 3, False)],
            modalities=['A', 'V', 'AV'],
        )
        for n in range(20)
    }

    class VGGSounder(dict):
        def __init__(self, **_):
            super().__init__(by_clip)

        def get_all_labels(self):
            return names

    module = SimpleNamespace(VGGSounder=VGGSounder)
    monkeypatch.setitem(sys.modules, 'vggsounder', module)
    return load_labels()


def test_a_dump_of_ours_is_scored(labels, tmp_path, capsys):
    rng = np.random.default_rng(0)
    clips = list(labels.by_clip)
    truth = labels.matrix(clips, 'all')
    scores = {
        key: 2 * truth + rng.normal(size=truth.shape) for key in ('a', 'v')
    }
    scores['av'] = scores['a'] + 0.2 * rng.normal(size=truth.shape)
    ours = labels.classes[::-1]
    (tmp_path / 'classes.txt').write_text('\n'.join(ours))
    flags = ('--classes', tmp_path / 'classes.txt')
    flags += ('--out', tmp_path / 'out.json')
    order = [labels.classes.index(name) for name in ours]
    files = np.array([f'videos/{clip}.mp4' for clip in clips])
    dump = tmp_path / 'test.pkl'
    rows = [
        dict(pred_score=score[order], gt_label=[0], filename=file)
        for score, file in zip(scores['av'], files, strict=True)
    ]
    dump.write_bytes(pickle.dumps(rows))
    out = tmp_path / 'out.json'
    assert run_tool(TOOL, f'av={dump}', '--topk=2', *flags) == 0
    found = {r['labels']: r for r in json.loads(out.read_text())['scores']}
    assert [*found] == ['all', 'a', 'v', 'av', 'a only', 'v only']
    expected = multi_label_scores(truth, scores['av'], [2])
    whole = {k: found['all'][k] for k in expected}
    assert whole == pytest.approx(expected)
    heard = multi_label_scores(labels.matrix(clips, 'a'), scores['av'], [2])
    assert found['a']['f1@2'] == pytest.approx(heard['f1@2'])
    report = tmp_path / 'report.npz'
    names = dict(audio='a', video='v', all='av')
    arrays = {name: scores[key][:, order] for name, key in names.items()}
    np.savez(report, files=files, **arrays)
    assert run_tool(TOOL, report, '--topk=1', *flags) == 0
    found = json.loads(out.read_text())['modality_confusion']
    assert found == modality_confusion(truth, scores)
    dump.write_bytes(pickle.dumps(rows[:1]))
    assert run_tool(TOOL, f'av={dump}', '--topk=1', *flags) == 0
    single = json.loads(out.read_text())['scores'][0]  # nothing to rank
    assert single['clips'] == 1 and single['auc_roc'] is None
    dump.write_bytes(pickle.dumps([dict(rows[0], filename='other.mp4')]))
    assert run_tool(TOOL, f'av={dump}', *flags) == 2
    assert 'no clip of VGGSounder' in capsys.readouterr().err
    assert run_tool(TOOL, f'av={dump}') == 2
    assert 'vggsound.txt lacks classes' in capsys.readouterr().err
    dump.write_bytes(pickle.dumps([dict(rows[0], pred_score=np.ones(4))]))
    assert run_tool(TOOL, f'av={dump}', *flags) == 2
    assert 'are of 4 classes' in capsys.readouterr().err
    assert run_tool(TOOL, tmp_path / 'none.npz', *flags) == 2
    assert 'none.npz is no file' in capsys.readouterr().err


def test_a_missing_package_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'vggsounder', None)
    assert run_tool(TOOL, 'av=test.pkl') == 2
    assert 'pip install vggsounder' in capsys.readouterr().err
