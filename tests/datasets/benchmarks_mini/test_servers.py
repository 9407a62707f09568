# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From the official list of a test set without labels to a submission."""

import json
from pathlib import Path

import pytest
from excerpts import LISTS
from miniature import load, runner_of
from mmaction.registry import DATASETS

pytestmark = pytest.mark.usefixtures('inside')
CASES = {
    'cava/cava_epic_sounds': (
        'EpicSoundsSubmission',
        LISTS['epic_sounds'],
        dict(interaction=44),
    ),
    'cast/cast_ek100': (
        'EpicKitchensSubmission',
        LISTS['epic_kitchens_100'],
        dict(verb=97, noun=300, action=100),
    ),
}


def unlabelled(name):
    cfg = load(name)
    cfg.test_dataloader.dataset.ann_file = 'test.csv'
    return cfg


@pytest.mark.parametrize('name', CASES)
def test_from_the_official_list_to_the_submission(name, tmp_path):
    kind, lists, sizes = CASES[name]
    cfg, out = unlabelled(name), tmp_path / 'test.json'
    cfg.test_evaluator = dict(type=kind, out_file=str(out), header={})
    metrics = runner_of(cfg, tmp_path / 'run').test()
    assert metrics['submission/num_used'] == 2
    results = json.loads(out.read_text())['results']
    [text] = [text for file, text in lists.items() if 'timestamps' in file]
    ids = [line.split(',')[0] for line in text.splitlines()[1:]]
    assert list(results) == ids
    for entry in results.values():
        assert {key: len(entry[key]) for key in entry} == sizes


@pytest.mark.parametrize('name', CASES)
def test_a_number_needs_labels(name, tmp_path):
    runner = runner_of(unlabelled(name), tmp_path)
    with pytest.raises(ValueError, match='Metric needs labels, but the clip'):
        runner.test()


@pytest.mark.parametrize('name', CASES)
def test_nothing_is_learnt_without_labels(name):
    dataset = load(name).train_dataloader.dataset
    dataset.ann_file = 'test.csv'
    with pytest.raises(ValueError, match='has no labels to learn'):
        DATASETS.build(dataset)


@pytest.mark.parametrize('name', CASES)
def test_the_manifest_has_no_column_of_labels(name, world):
    root = world / load(name).test_dataloader.dataset.data_root
    header = Path(root, 'test.csv').read_text().splitlines()[0].split(',')
    assert not {'label', 'verb', 'noun'} & set(header)
