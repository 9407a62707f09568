# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Balance, cost, curves and sheets show the numbers of the files."""

import json

import numpy as np
import pytest
from figure_inputs import (
    is_png,
    run_figure,
    write_cost,
    write_dump,
    write_results,
)

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.visualization.accuracy_cost import read_point
from ca2st_mm.visualization.balance import draw_balance
from ca2st_mm.visualization.curve_logs import read_run
from ca2st_mm.visualization.curves import draw_curves
from ca2st_mm.visualization.published import COST, published
from ca2st_mm.visualization.scores import read_scores
from ca2st_mm.visualization.sheet import answers_to, pick_clips


def test_published_numbers_are_those_of_the_cast_paper():
    assert published(('verb', 'noun'))['CAST'] == (72.5, 60.9)
    assert published((COST, 'k400'))['CAST'] == (391, 85.3)
    assert 'EVL' not in published(('verb', 'noun'))


def test_each_name_stands_beside_its_own_point():
    models, authors = dict(a=(10, 20), b=(60, 30)), dict(c=(90, 80))
    axes = draw_balance(('x', 'y'), models, authors).axes[0]
    said = {t.get_text(): tuple(t.xy) for t in axes.texts if hasattr(t, 'xy')}
    assert said == {**models, **authors}
    labels = axes.get_legend_handles_labels()[1]
    assert "the CAST authors' numbers" in labels


def test_a_profile_ends_with_the_harmonic_mean():
    axes = draw_balance(('x', 'y', 'z'), dict(a=(20, 40, 40))).axes[0]
    [line] = axes.lines
    assert line.get_ydata() == pytest.approx([20, 40, 40, 30])


def test_cost_is_of_one_view_or_of_all_that_were_tested(tmp_path):
    results = write_results(tmp_path / 'r.json', [6], top1=0.5)
    cost = write_cost(tmp_path / 'c.json', macs=3e9)
    text = f'{results}:top1,{cost}'
    assert read_point(text, 'per-view') == (3, 50)
    assert read_point(text, 'total') == (18, 50)
    assert read_point(text, 'trained') == (1, 50)


def test_number_commands_write_pictures(tmp_path):
    results = write_results(tmp_path / 'r.json', top1=0.5, top5=0.8)
    cost = write_cost(tmp_path / 'c.json', macs=3e9)
    out = tmp_path / 'p.png'
    numbers = f'--model=A={results}:top1,{results}:top5'
    names = ['--axes', 'one', 'two', '--published', 'noun', 'verb']
    assert not run_figure('balance', numbers, *names, '--out', out)
    assert is_png(out)
    out.unlink()
    point = f'--model=A={results}:top1,{cost}'
    extra = ['--published', 'k400', '--out', out]
    assert not run_figure('accuracy_cost', point, *extra)
    assert is_png(out)


@pytest.mark.parametrize(
    ('views', 'text', 'said'),
    [
        ([1, 2], '{r}:top1,{c}', 'one number of views'),
        ([1], '{r}:top7,{c}', "no number 'top7'; it has top1"),
        ([1], '{r}:top1', 'has no cost'),
        ([1], '{r}:top1,{r}', 'is no table of tools/analysis/get_flops.py'),
        ([1], '{r}:top1,{r}x', 'There is no file'),
    ],
)
def test_unusable_costs_end_in_one_sentence(
    tmp_path, capsys, views, text, said
):
    results = write_results(tmp_path / 'r.json', views, top1=0.5)
    cost = write_cost(tmp_path / 'c.json', macs=3e9)
    model = f'--model=A={text.format(r=results, c=cost)}'
    assert run_figure('accuracy_cost', model, '--cost', 'total') == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def write_log(folder, start, rows):
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def trained(epoch, value):
    return dict(loss=value, epoch=epoch, iter=10 * epoch, step=10 * epoch)


def test_a_resumed_run_is_one_curve_and_the_later_lines_count(tmp_path):
    first = [trained(1, 9), trained(2, 8), trained(3, 7)]
    tested = {'acc/top1': 0.1, 'step': 2}
    later = [trained(3, 6), {'acc/top1': 0.2, 'step': 3}]
    write_log(tmp_path, '20260101_000000', [*first, tested])
    write_log(tmp_path, '20260102_000000', later)
    log = read_run(tmp_path)
    assert log.training['loss'] == [(10, 9), (20, 8), (30, 6)]
    assert log.validation['acc/top1'] == [(2, 0.1), (3, 0.2)]
    assert not log.missing
    write_log(tmp_path, '20260103_000000', [trained(1, 5)])
    assert read_run(tmp_path).training['loss'] == [(10, 5)]
    assert not read_run(tmp_path).validation


def test_missing_epochs_are_said_and_break_the_line(tmp_path, capsys):
    rows = [trained(epoch, epoch) for epoch in (1, 2, 3, 6, 7)]
    write_log(tmp_path / 'run', '20260101_000000', rows)
    log = read_run(tmp_path / 'run')
    [line] = draw_curves(dict(run=log), ['loss']).axes[0].lines
    assert (
        np.isnan(line.get_ydata()).tolist()
        == [False] * 3 + [True] + [False] * 2
    )
    out = tmp_path / 'p.png'
    assert not run_figure('curves', tmp_path / 'run', '--out', out)
    assert is_png(out)
    assert 'log of run has no line of the epochs 4, 5' in (
        capsys.readouterr().err
    )


def test_logs_that_cannot_be_drawn_end_in_one_sentence(tmp_path, capsys):
    assert run_figure('curves', tmp_path) == 2
    assert 'holds no training log' in capsys.readouterr().err
    log = write_log(tmp_path, '20260101_000000', [trained(1, 1)])
    assert run_figure('curves', tmp_path, '--key', 'acc') == 2
    assert "has logged 'acc'; they have loss" in capsys.readouterr().err
    log.write_text('{"loss"\n' + log.read_text())
    assert run_figure('curves', tmp_path) == 2
    assert 'line 1 is no JSON' in capsys.readouterr().err


@pytest.fixture
def answers(tmp_path):
    files = [str(tmp_path / f'{i}.mp4') for i in range(4)]
    labels = [0, 1, 2, 0]
    return dict(
        expert=write_dump(tmp_path / 'e.pkl', labels, [0, 0, 2, 1], 3),
        ours=write_dump(
            tmp_path / 'o.pkl', labels, [0, 1, 1, 2], 3, filename=files
        ),
    )


def test_clips_are_picked_by_who_is_right(answers):
    results = {name: read_scores(str(p)) for name, p in answers.items()}
    picked = {
        which: pick_clips(results, which, 9)
        for which in ('easy', 'gained', 'lost', 'hard')
    }
    assert picked == dict(easy=[0], gained=[1], lost=[2], hard=[3])
    truth, said = answers_to(1, results, dict(label=['a', 'b', 'c']))
    assert truth == 'b'
    assert [(a.text, a.right) for a in said] == [('a', False), ('b', True)]
    assert said[0].score == pytest.approx(0.5)


def test_classes_take_turns_on_a_sheet(tmp_path):
    path = write_dump(tmp_path / 'a.pkl', [0, 0, 1], [0, 0, 1], 3)
    results = dict(a=read_scores(str(path)), b=read_scores(str(path)))
    assert pick_clips(results, 'easy', 2) == [0, 2]


def test_a_sheet_shows_the_frames_of_the_clip(tmp_path, answers, capsys):
    dumps = [f'{name}={path}' for name, path in answers.items()]
    out = ['--out', tmp_path / 'p.png']
    assert run_figure('sheet', *dumps, *out) == 2
    assert '1.mp4' in capsys.readouterr().err
    frames = np.full((8, 32, 32, 3), 200, np.uint8)
    write_clip(str(tmp_path / '1.mp4'), frames, fps=8)
    assert not run_figure('sheet', *dumps, *out)
    assert is_png(tmp_path / 'p.png')
    assert run_figure('sheet', dumps[0], f'x={answers["expert"]}') == 2
    assert "no clip of the kind 'gained'" in capsys.readouterr().err
