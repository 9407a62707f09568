# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""`paper.py`: what is measured once is kept, and never mixed up."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import get_flops
import numpy as np
import paper
import paper_toy
import pytest
from result_files import read_scores
from shrunk_models import without_init
from tool_runs import run_tool

from ca2st_mm.datasets.toy import ToyWorld, write_toy_set
from ca2st_mm.engine.interruption import Interrupted
from ca2st_mm.utils.errors import UsageError

ENSEMBLE = 't1/alone_spatial + t1/alone_temporal'
PARTS = ENSEMBLE.split(' + ')


def call(*arguments):
    return run_tool('analysis/paper.py', *map(str, arguments))


@pytest.fixture
def tiny_world(tmp_path, monkeypatch):
    """Four clips, one epoch, experts of random weights."""
    data = tmp_path / 'data'
    write_toy_set(str(data), dict.fromkeys(('train', 'val', 'test'), 4))

    def toy_config(*args):
        cfg = paper_toy.toy_config(*args)
        cfg.model = without_init(cfg.model.to_dict())
        return cfg

    monkeypatch.setattr(paper, 'toy_config', toy_config)
    monkeypatch.setattr(paper, 'EXPERTS', ())
    monkeypatch.setattr(paper_toy, 'EPOCHS', 2)
    return data


def test_what_is_missing_is_measured_once(tiny_world, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    monkeypatch.setattr(
        'sys.argv',
        ['paper.py', 'run', 't1', '--world', 'toy', '--rows', ENSEMBLE]
        + ['--out', str(out), '--data', str(tiny_world)],
    )
    read, stops = paper_toy.ToyClips.__getitem__, iter([signal.SIGINT])

    def read_and_stop(clips, index):
        for number in stops:
            signal.raise_signal(number)
        return read(clips, index)

    monkeypatch.setattr(paper_toy.ToyClips, '__getitem__', read_and_stop)
    with pytest.raises(Interrupted, match='the same command resumes'):
        paper.main()
    assert len([*out.glob('toy/*/seed0/interrupted.pth')]) == 1
    paper.main()
    files = sorted(out.glob('toy/*/seed0/results.json'))
    assert len(files) == 3  # both parts and what they are together
    found = {paper.folder_of(n, 'toy', out, 0): n for n in PARTS}
    parts = [read_scores(folder / 'scores.pkl') for folder in found]
    together = read_scores(
        paper.folder_of(ENSEMBLE, 'toy', out, 0) / 'scores.pkl'
    )
    for task in ('verb', 'noun'):
        mean = np.mean([part.scores[task] for part in parts], axis=0)
        np.testing.assert_allclose(together.scores[task], mean)
    # What was lost is measured again, and nothing else.
    trained = []
    train = paper.train_and_test
    monkeypatch.setattr(
        paper, 'train_and_test', lambda *a: (trained.append(a[1]), train(*a))
    )
    files[0].unlink()
    paper.main()
    assert [folder / 'results.json' for folder in trained] == files[:1]
    for file in files:
        numbers = json.loads(file.read_text())['metrics']
        for metric in ('verb', 'noun', 'action'):
            share = 4 * numbers[f'acc/{metric}_top1']
            assert share == round(share)


@pytest.mark.parametrize('gpus', [1, 8])
def test_benchmarks_run_with_the_tools_for_it(gpus, tmp_path, monkeypatch):
    calls = []

    def run_command(command):
        calls.append(command)
        signal.raise_signal(signal.SIGINT)  # is the tool's
        folder = Path(command[command.index('--work-dir') + 1])
        (folder / 'log').mkdir(parents=True)
        (folder / 'log/results.json').write_text(f'{{"seed": {len(calls)}}}')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(paper.subprocess, 'run', run_command)
    monkeypatch.setattr(paper, 'last_whole_checkpoint', lambda _: 'last.pth')
    monkeypatch.setattr(
        'sys.argv',
        ['paper.py', 'run', 't8', '--out', str(tmp_path), '--gpus', str(gpus)]
        + ['--rows', 't8/no_positions', '--seeds', '3', '--']
        + ['--amp', '--precision', 'float32', '--cfg-options', 'a=1', 'b=2'],
    )
    paper.main()
    paper.main()  # all is there
    train, test = calls
    for command in calls:
        assert ('--launcher' in command) == (gpus > 1)
        assert any(part.endswith('t8/no_positions.py') for part in command)
        # What changes the numbers is the same in both.
        assert command[command.index('--precision') + 1] == 'float32'
        at = command.index('--cfg-options')
        assert command[at + 1 : at + 3] == ['a=1', 'b=2']
    assert {'--amp', '--resume', '3'} <= set(train)
    assert {'last.pth', '--dump'} <= set(test) and '--amp' not in test
    folder = paper.folder_of('t8/no_positions', 'benchmark', tmp_path, 3)
    assert json.loads((folder / 'results.json').read_text()) == dict(seed=2)
    monkeypatch.setattr('sys.argv', [*paper.sys.argv[:-3], '--amp'])
    with pytest.raises(UsageError, match='measured with other flags'):
        paper.main()
    assert len(calls) == 2


def test_ours_stand_next_to_the_published(tmp_path, capsys):
    for seed, value in enumerate((0.5, 0.25)):
        folder = paper.folder_of('t8/no_positions', 'toy', tmp_path, seed)
        folder.mkdir(parents=True)
        record = dict(metrics={'acc/noun_top1': value})
        (folder / 'results.json').write_text(json.dumps(record))
    assert call('table', 't8', '--world', 'toy', '--out', tmp_path) == 0
    head, _, first, second, *_ = capsys.readouterr().out.splitlines()
    columns = [cell.strip() for cell in head.split('|')]
    assert 'source (paper)' not in columns
    for line, noun, seeds, published in (
        (first, '37.5 ± 17.7', '2', '59.7'),
        (second, '', 'not measured', '60.3'),
    ):
        cells = [cell.strip() for cell in line.split('|')]
        row = dict(zip(columns, cells, strict=True))
        assert row['noun (toy)'] == noun and row['seeds (toy)'] == seeds
        assert row['noun (paper)'] == published


def test_costs_are_counted_once(tmp_path, capsys, monkeypatch):
    counted = []

    def count(cfg):
        counted.append(cfg.filename)
        return [dict(parameters=3e6, trainable=2e6, macs=len(counted) * 1e9)]

    monkeypatch.setattr(get_flops, 'count', count)
    for _ in range(2):
        assert call('show', 't8', '--out', tmp_path) == 0
        lines = capsys.readouterr().out.splitlines()[2:4]
        assert '| 2.0 | 1 |' in lines[0] and '| 2.0 | 2 |' in lines[1]
        assert all('| CAST, Table 8, EPIC' in x for x in lines)
    assert len(counted) == 2


def test_harmonic_means_are_those_of_the_paper(tmp_path, capsys):
    values = dict(ek=dict(verb=72.5, noun=60.9), ssv2=71.6, k400=85.3)
    for name, value in values.items():
        found = {'top1': value} if name != 'ek' else value
        keys = {k if k == 'top1' else f'{k}_top1': v for k, v in found.items()}
        metrics = {f'acc/{k}': v / 100 for k, v in keys.items()}
        record = json.dumps(dict(metrics=metrics))
        (tmp_path / f'{name}.json').write_text(record)
    ours = f'mine={tmp_path}/ek.json,ssv2={tmp_path}/ssv2.json'
    ours += f',k400={tmp_path}/k400.json'
    assert call('table', 't2', '--ours', ours) == 0
    found = {
        line.split(' | ')[0][2:]: line
        for line in capsys.readouterr().out.splitlines()
    }
    assert '| 77.9 | 71.6 |' in found['CAST']
    assert '| 77.9 | 71.6 |' in found['mine']
    assert found['CLIP'].endswith('its re-run |')
    ours = f'mine={tmp_path}/ssv2.json'  # of which benchmark?
    assert call('table', 't2', '--ours', ours) == 2
    assert 'NAME=COLUMN=FILE' in capsys.readouterr().err


@pytest.mark.parametrize('how', paper.FORMATS)
def test_results_of_ours_join_the_published(how, tmp_path):
    record = tmp_path / 'results.json'
    record.write_text(json.dumps(dict(metrics={'acc/top1': 0.5})))
    path = tmp_path / f'table.{how}'
    arguments = ['--format', how, '--file', path, '--ours', f'mine={record}']
    assert call('table', 'epic_sounds', *arguments) == 0
    if how == 'png':
        assert path.read_bytes()[:4] == b'\x89PNG'
    else:
        text = path.read_text()
        [mine] = [line for line in text.splitlines() if 'mine' in line]
        assert '50.0' in mine and 'measured here' in mine


@pytest.mark.parametrize(
    'arguments, words',
    [
        (('t5', '--world', 'toy'), 'which the toy world has not'),
        (('t1', '--rows', 't1/b_cost'), "no row 't1/b_cost'"),
        (('t1', '--world', 'toy', '--data', 'no/data'), 'make-toy no/data'),
        (('t1', '--world', 'toy', '--', '--amp'), 'on a benchmark'),
    ],
)
def test_what_cannot_run_is_said_in_a_sentence(arguments, words, capsys):
    assert call('run', *arguments) == 2
    assert words in capsys.readouterr().err


def test_results_are_of_one_toy_data_set(tmp_path):
    record, worlds = tmp_path / 'out/data.json', {}
    for name, kind in (
        ('both', 'both'),
        ('other', 'both'),
        ('video', 'video'),
    ):
        worlds[name] = tmp_path / name
        world = ToyWorld(size=32, num_frames=2, labels_from=kind)
        write_toy_set(str(worlds[name]), dict(test=3), len(name), world)
    for _ in range(2):
        paper.check_data(worlds['both'], record)
    with pytest.raises(UsageError, match='on other toy data'):
        paper.check_data(worlds['other'], record)
    with pytest.raises(UsageError, match='labels from both modalities'):
        paper.check_data(worlds['video'], tmp_path / 'new.json')
