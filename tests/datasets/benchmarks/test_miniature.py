# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small benchmarks as their recipes read, train and test them."""

import csv
import json
from pathlib import Path

import pytest
from benchmark_files import FILES
from miniature import load, runner_of
from mmaction.registry import DATASETS

BAD = 'torn_000000.mp4'
SERVERS = {
    'cava/cava_epic_sounds': ('EpicSoundsSubmission', dict(interaction=44)),
    'cast/cast_ek100': (
        'EpicKitchensSubmission',
        dict(verb=97, noun=300, action=100),
    ),
}


def test_clips_of_long_files_have_their_own_clock(inside):
    cfg = load('cava/cava_ek100')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for row in range(2):
        info = dataset.get_data_info(row)
        duration = info['clip_end'] - info['clip_start']
        inputs = dataset[row]['inputs']
        times, audio = inputs['imgs'].times, inputs['audios'].times
        assert times.min() == pytest.approx(0, abs=0.05)
        assert duration - 0.2 < times.max() < duration
        # SPEC frames of 10 ms; the other views begin later
        assert audio[:, 0].min() >= -1e-3
        assert audio[:, 1].max() <= duration + 0.05


def test_a_bad_clip_is_counted_from_training_to_the_results(
    world, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path(BAD).touch()
    good = sorted((world / 'data/vggsound/videos').iterdir())
    rows = ''.join(
        f'{path},{label}\n'
        for label, path in enumerate([*good, tmp_path / BAD])
    )
    cfg = load('cava/cava_vggsound')
    for split in ('train', 'val', 'test'):
        Path(f'{split}.csv').write_text('file,label\n' + rows)
        cfg[f'{split}_dataloader'].dataset.update(
            data_root=str(tmp_path),
            ann_file=f'{split}.csv',
            # one of three is more than the 1 % of the config
            max_bad_fraction=0.4,
        )
    # The recipe's own sampler would leave out the third clip.
    cfg.train_dataloader.sampler = dict(type='DefaultSampler')
    runner = runner_of(cfg, tmp_path / 'run')
    runner.train()
    assert runner.iter == 2  # no batch is lost
    metrics = runner.test()
    assert metrics['acc/num_used'] == metrics['acc/num_clips'] == 2
    assert metrics['acc/num_expected'] == 3
    record = json.loads((Path(runner.log_dir) / 'results.json').read_text())
    assert record['metrics']['acc/num_used'] == 2
    assert record['metrics']['acc/num_expected'] == 3
    with open('work_dirs/bad_samples.csv', newline='') as file:
        listed = {
            (Path(row['annotations']).stem, Path(row['path']).name)
            for row in csv.DictReader(file)
        }
    assert listed == {(split, BAD) for split in ('train', 'val', 'test')}


@pytest.mark.parametrize('name', SERVERS)
def test_from_the_official_list_to_the_submission(name, tmp_path, inside):
    kind, sizes = SERVERS[name]
    cfg, out = load(name), tmp_path / 'test.json'
    cfg.test_dataloader.dataset.ann_file = 'test.csv'
    root = Path(cfg.test_dataloader.dataset.data_root)
    header = (root / 'test.csv').read_text().splitlines()[0].split(',')
    assert not {'label', 'verb', 'noun'} & set(header)
    cfg.test_evaluator = dict(type=kind, out_file=str(out), header={})
    metrics = runner_of(cfg, tmp_path / 'run').test()
    assert metrics['submission/num_used'] == 1
    results = json.loads(out.read_text())['results']
    [expected] = [
        [clip.id for clip in clips]
        for (benchmark, split, file), (_, clips) in FILES.items()
        if split == 'test' and benchmark.replace('_100', '100') == root.name
    ]
    assert list(results) == expected
    for entry in results.values():
        assert {key: len(entry[key]) for key in entry} == sizes
