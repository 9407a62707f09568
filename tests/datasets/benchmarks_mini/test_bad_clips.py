# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A broken clip in training and in test: listed, counted, and capped."""

import csv
import json
from pathlib import Path

import pytest
from excerpts import MEDIA
from miniature import load, runner_of

from ca2st_mm.datasets.bad_samples import TooManyBadSamples

NAME = 'cava/cava_vggsound'
BAD = 'torn_000000.mp4'


@pytest.fixture
def config(world, tmp_path, monkeypatch):
    """The benchmark with two good clips and a broken one in every set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / BAD).touch()
    good = [world / 'data/vggsound' / name for name in MEDIA['vggsound']]
    rows = ''.join(
        f'{path},{label}\n'
        for label, path in enumerate([*good, tmp_path / BAD])
    )
    cfg = load(NAME)
    for split in ('train', 'val', 'test'):
        (tmp_path / f'{split}.csv').write_text('file,label\n' + rows)
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(data_root=str(tmp_path), ann_file=f'{split}.csv')
    return cfg


def listed(folder):
    with open(folder / 'work_dirs/bad_samples.csv', newline='') as file:
        return [
            (Path(row['annotations']).stem, Path(row['path']).name)
            for row in csv.DictReader(file)
        ]


def test_a_bad_clip_is_counted_from_training_to_the_results(config, tmp_path):
    for split in ('train', 'val', 'test'):
        # one of three is more than the 1 % of the config
        config[f'{split}_dataloader'].dataset.max_bad_fraction = 0.4
    # The recipe's own sampler would leave out the third clip.
    config.train_dataloader.sampler = dict(type='DefaultSampler')
    runner = runner_of(config, tmp_path / 'run')
    runner.train()
    assert runner.iter == 2  # no batch is lost
    metrics = runner.test()
    assert metrics['acc/num_used'] == metrics['acc/num_clips'] == 2
    assert metrics['acc/num_expected'] == 3
    record = json.loads((Path(runner.log_dir) / 'results.json').read_text())
    assert record['metrics']['acc/num_used'] == 2
    assert record['metrics']['acc/num_expected'] == 3
    assert {(split, BAD) for split in ('train', 'val', 'test')} == set(
        listed(tmp_path)
    )


def test_beyond_the_cap_the_run_stops_with_a_summary(config, tmp_path):
    runner = runner_of(config, tmp_path / 'run')
    message = '1 of 3 samples .*train.csv.* max_bad_fraction=0.01 allows 0'
    with pytest.raises(TooManyBadSamples, match=message):
        runner.train()
    assert listed(tmp_path) == [('train', BAD)]
