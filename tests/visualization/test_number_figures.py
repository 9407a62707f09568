# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Balance, cost and curves show the numbers of the files."""

import json

import numpy as np
import pytest
from accuracy_cost import read_point
from balance import draw_profile
from curves import draw_curves, read_run
from figure_inputs import is_png, run_figure, write_cost, write_results
from scatter import COST, published


def test_a_profile_ends_with_the_harmonic_mean():
    axes = draw_profile(('x', 'y', 'z'), dict(a=(20, 40, 40)), {}).axes[0]
    [line] = axes.lines
    assert line.get_ydata() == pytest.approx([20, 40, 40, 30])


def test_cost_is_of_one_view_or_of_all_that_were_tested(tmp_path):
    results = write_results(tmp_path / 'r.json', [6], top1=0.5)
    cost = write_cost(tmp_path / 'c.json', macs=3e9)
    text = f'{results}:top1,{cost}'
    assert read_point(text, 'per-view') == (3, 50)
    assert read_point(text, 'total') == (18, 50)
    assert read_point(text, 'trained') == (1, 50)


def test_number_commands_write_figures(tmp_path):
    results = write_results(tmp_path / 'r.json', top1=0.5, top5=0.8)
    cost = write_cost(tmp_path / 'c.json', macs=3e9)
    numbers = f'--model=A={results}:top1,{results}:top5'
    names = ['--axes', 'one', 'two', '--published', 'noun', 'verb']
    assert not run_figure('balance', numbers, *names)
    assert is_png(tmp_path / 'balance.png')
    point = f'--model=A={results}:top1,{cost}'
    assert not run_figure('accuracy_cost', point, '--published', 'k400')
    assert is_png(tmp_path / 'accuracy_cost.png')


@pytest.mark.parametrize(
    ('views', 'text', 'said'),
    [
        ([1, 2], '{r}:top1,{c}', 'one number of views'),
        ([1], '{r}:top7,{c}', "no number 'top7'; it has top1"),
        ([1], '{r}:top1', 'has no cost'),
        ([1], '{r}:top1,{r}', 'is no table of ca2st report get-flops'),
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
    model = f'--model=A={results}:top1'
    assert run_figure('balance', model, '--axes', 'x', 'y') == 2
    assert 'A has 1 numbers for the 2 axes x, y' in capsys.readouterr().err


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


def test_missing_epochs_are_named_and_break_the_line(tmp_path, capsys):
    rows = [trained(epoch, epoch) for epoch in (1, 2, 3, 6, 7)]
    write_log(tmp_path / 'run', '20260101_000000', rows)
    log = read_run(tmp_path / 'run')
    [line] = draw_curves(dict(run=log), ['loss']).axes[0].lines
    broken = [False, False, False, True, False, False]
    assert np.isnan(line.get_ydata()).tolist() == broken
    assert not run_figure('curves', tmp_path / 'run')
    assert is_png(tmp_path / 'run/curves.png')
    assert 'epochs 4, 5' in capsys.readouterr().err


def test_logs_that_cannot_be_drawn_end_in_one_sentence(tmp_path, capsys):
    assert run_figure('curves', tmp_path) == 2
    assert 'holds no training log' in capsys.readouterr().err
    log = write_log(tmp_path, '20260101_000000', [trained(1, 1)])
    assert run_figure('curves', tmp_path, '--key', 'acc') == 2
    assert "has logged 'acc'; they have loss" in capsys.readouterr().err
    log.write_text('{"loss"\n' + log.read_text())
    assert run_figure('curves', tmp_path) == 2
    assert 'line 1 is no JSON' in capsys.readouterr().err


def test_published_numbers_are_those_of_the_cast_paper():
    assert published(('verb', 'noun'))['CAST'] == (72.5, 60.9)
    assert published((COST, 'k400'))['CAST'] == (391, 85.3)
    assert 'EVL' not in published(('verb', 'noun'))
