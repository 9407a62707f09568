# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Per-class change and confusion tell what the answers say."""

import csv
from pathlib import Path

import numpy as np
import pytest
from figure_inputs import (
    is_png,
    run_figure,
    write_dump,
    write_verb_noun_dump,
)

from ca2st_mm.datasets.benchmarks.class_names import shipped_names
from ca2st_mm.evaluation.per_class import (
    class_table,
    count_confusions,
    mean_by_group,
    most_confused,
)
from ca2st_mm.visualization.class_labels import category_of
from ca2st_mm.visualization.confusion import best_actions, often_confused
from ca2st_mm.visualization.per_class_change import (
    draw_category_change,
    f1_changes,
)
from ca2st_mm.visualization.scores import read_scores

LABELS = [0, 0, 0, 1, 1, 2]
RIGHT = [0, 0, 0, 1, 1, 2]
WRONG = [0, 0, 1, 1, 2, 2]


def test_class_table_by_hand():
    table = class_table(np.array(LABELS), np.array(WRONG), 4)
    # Class 0: two of three found, all two answers right.
    expected = [
        [1, 2 / 3, 0.8, 3],
        [1 / 2, 1 / 2, 1 / 2, 2],
        [1 / 2, 1, 2 / 3, 1],
        [0, 0, 0, 0],
    ]
    assert table == pytest.approx(np.array(expected))


def test_confusions_by_hand():
    counts = count_confusions(np.array(LABELS), np.array(WRONG), 4)
    assert counts.tolist() == [
        [2, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    assert most_confused(counts) == [(0, 1, 1), (1, 2, 1)]
    counts[3, 2] = 5
    assert most_confused(counts, 1) == [(3, 2, 5)]
    assert often_confused(counts, 2).tolist() == [2, 3]
    assert often_confused(counts, 3).tolist() == [2, 3]


def test_groups_are_weighted_by_clips_and_empty_ones_left_out():
    rows = mean_by_group(
        np.array([10.0, 20.0, -5.0, 99.0]),
        np.array([3, 1, 2, 0]),
        ['a', 'a', 'b', 'c'],
    )
    assert rows == [('a', 12.5, 4.0), ('b', -5.0, 2.0)]


def test_change_is_ours_less_theirs(tmp_path):
    ours = read_scores(str(write_dump(tmp_path / 'a.pkl', LABELS, RIGHT, 4)))
    other = read_scores(str(write_dump(tmp_path / 'b.pkl', LABELS, WRONG, 4)))
    f1, changes, support = f1_changes(ours, dict(other=other))
    assert f1 == pytest.approx([100, 100, 100, 0])
    assert changes['other'] == pytest.approx([20, 50, 100 / 3, 0])
    assert support.tolist() == [3, 2, 1, 0]
    figure = draw_category_change('a', changes, support, ['x', 'x', 'y', 'z'])
    bars = {
        label.get_text(): bar.get_width()
        for label, bar in zip(
            figure.axes[0].get_yticklabels(),
            figure.axes[0].patches,
            strict=True,
        )
    }
    assert bars == pytest.approx({'y (1)': 100 / 3, 'x (2)': 32})


def test_every_class_of_epic_kitchens_has_its_official_category():
    for task, count in (('verb', 13), ('noun', 21)):
        names = shipped_names(f'epic_kitchens_100_{task}.txt')
        assert len(set(category_of(names, task=task))) == count
    assert category_of(['spoon'], task='noun') == ['cutlery']
    # 'sink' would be a noun; as a verb there is none.
    official = Path('../shared/annotations/epic_kitchens_100')
    if not official.is_dir():
        pytest.skip('needs the official tables of EPIC-KITCHENS-100')
    for task in ('verb', 'noun'):
        with open(official / f'EPIC_100_{task}_classes.csv') as file:
            rows = list(csv.DictReader(file))
        keys = [row['key'].strip() for row in rows]
        groups = [row['category'].strip() for row in rows]
        assert category_of(keys, task=task) == groups


def test_an_action_is_a_verb_with_a_noun(tmp_path):
    labels, answers = [(0, 2), (1, 1), (0, 2)], [(0, 2), (1, 0), (1, 1)]
    path = write_verb_noun_dump(tmp_path / 'd.pkl', labels, answers, (2, 3))
    true, best, names = best_actions(
        read_scores(str(path)), ['take', 'put'], ['cup', 'pan', 'lid']
    )
    assert [names[i] for i in true] == ['take lid', 'put pan', 'take lid']
    assert [names[i] for i in best] == ['take lid', 'put cup', 'put pan']


def test_commands_write_pictures_and_tables(tmp_path, capsys):
    a = write_dump(tmp_path / 'a.pkl', LABELS, RIGHT, 4)
    b = write_dump(tmp_path / 'b.pkl', LABELS, WRONG, 4)
    picture, table = tmp_path / 'p.png', tmp_path / 't.csv'
    names = tmp_path / 'names.txt'
    names.write_text('zero\none\ntwo\nthree\n')
    common = ['--classes', names, '--out', picture, '--csv', table]
    assert not run_figure('per_class_change', f'A={a}', f'B={b}', *common)
    assert is_png(picture)
    rows = list(csv.DictReader(table.open()))
    assert rows[1]['class'] == 'one'
    assert float(rows[1]['change_over_B']) == 50
    picture.unlink()
    assert not run_figure('confusion', b, *common)
    assert is_png(picture)
    assert 'zero,one,1' in table.read_text()
    assert '1  zero  taken for  one' in capsys.readouterr().out


@pytest.mark.parametrize(
    'fault',
    ['length', 'labels', 'classes', 'files', 'absent', 'names', 'no names'],
)
def test_results_that_do_not_fit_are_named_in_one_sentence(
    tmp_path, capsys, fault
):
    files = [f'x/{i}.mp4' for i in range(6)]
    a = write_dump(tmp_path / 'a.pkl', LABELS, RIGHT, 4, filename=files)
    others = dict(
        length=(LABELS[1:], WRONG[1:], 4),
        labels=([1, *LABELS[1:]], WRONG, 4),
        classes=(LABELS, WRONG, 5),
    )
    extra = ['--out', tmp_path / 'p.png']
    names = tmp_path / 'names.txt'
    names.write_text('only one\n')
    if fault == 'names':
        extra += ['--classes', names]
    if fault == 'no names':
        extra += ['--by-category']
    moved = [f'y/{i}.mp4' for i in range(6)]
    if fault == 'files':
        moved[3] = 'y/other.mp4'
    kept = moved if len(others.get(fault, [LABELS])[0]) == 6 else moved[1:]
    b = write_dump(
        tmp_path / 'b.pkl',
        *others.get(fault, (LABELS, WRONG, 4)),
        filename=kept,
    )
    if fault == 'absent':
        b.unlink()
    assert run_figure('per_class_change', f'A={a}', f'B={b}', *extra) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    said = dict(
        length='6 and 5 clips',
        labels='true label of clip 0: 0 and 1',
        classes="{'label': 4} and {'label': 5} classes",
        files='file of clip 3: 3.mp4 and other.mp4',
        absent='--dump writes it',
        names='names 1 classes, but the scores are of 4',
    )
    assert (
        said.get(fault, "no category for 4 of 4 classes, first 'class 0'")
        in error
    )
    assert not (tmp_path / 'p.png').exists()


def test_the_same_clips_in_another_folder_are_the_same(tmp_path):
    paths = [
        write_dump(
            tmp_path / f'{folder}.pkl',
            LABELS,
            RIGHT,
            4,
            filename=[f'{folder}/{i}.mp4' for i in range(6)],
        )
        for folder in 'xy'
    ]
    ours, other = (read_scores(str(path)) for path in paths)
    _, changes, _ = f1_changes(ours, dict(other=other))
    assert not changes['other'].any()
