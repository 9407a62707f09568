# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Figures of dumps: what they count, compare and leave out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from class_labels import category_of
from confusion import best_actions, most_confused, often_confused
from figure_inputs import (
    is_png,
    run_figure,
    write_dump,
    write_verb_noun_dump,
)
from per_class_change import (
    draw_category_change,
    f1_changes,
)
from result_files import read_comparable, read_scores
from sheet import answers_to, pick_clips

from ca2st_mm.datasets.benchmarks import shipped_names
from ca2st_mm.datasets.media_writer import write_clip

LABELS = [0, 0, 0, 1, 1, 2]
RIGHT = [0, 0, 0, 1, 1, 2]
WRONG = [0, 0, 1, 1, 2, 2]


def read_csv(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_confusions_by_hand():
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (LABELS, WRONG), 1)
    assert most_confused(counts) == [(0, 1, 1), (1, 2, 1)]
    counts[3, 2] = 5
    assert most_confused(counts, 1) == [(3, 2, 5)]
    assert often_confused(counts, 2).tolist() == [2, 3]
    assert often_confused(counts, 3).tolist() == [2, 3]


def test_change_is_ours_less_theirs(tmp_path):
    a = write_dump(tmp_path / 'a.pkl', LABELS, RIGHT, 4)
    b = write_dump(tmp_path / 'b.pkl', LABELS, WRONG, 4)
    ours, other = read_comparable([f'a={a}', f'b={b}']).values()
    f1, changes, support = f1_changes(ours, dict(other=other))
    assert f1 == pytest.approx([100, 100, 100, 0])
    assert changes['other'] == pytest.approx([20, 50, 100 / 3, 0])
    assert support.tolist() == [3, 2, 1, 0]
    axes = draw_category_change('a', changes, support, list('xxyz')).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    bars = [bar.get_width() for bar in axes.patches]
    assert names == ['y (1)', 'x (2)']
    assert bars == pytest.approx([100 / 3, 32])


def test_every_class_of_epic_kitchens_has_its_official_category():
    for task, count in (('verb', 13), ('noun', 21)):
        names = shipped_names(f'epic_kitchens_100_{task}.txt')
        assert len(set(category_of(names, task=task))) == count
    official = Path('../shared/annotations/epic_kitchens_100')
    if not official.is_dir():
        pytest.skip('needs the official tables of EPIC-KITCHENS-100')
    for task in ('verb', 'noun'):
        rows = read_csv(official / f'EPIC_100_{task}_classes.csv')
        keys = [row['key'].strip() for row in rows]
        groups = [row['category'].strip() for row in rows]
        assert category_of(keys, task=task) == groups


def test_an_action_is_a_verb_with_a_noun(tmp_path):
    labels, answers = [(0, 2), (1, 1), (0, 2)], [(0, 2), (1, 0), (1, 1)]
    path = write_verb_noun_dump(tmp_path / 'd.pkl', labels, answers, (2, 3))
    true, best, names = best_actions(
        read_scores(path), ['take', 'put'], ['cup', 'pan', 'lid']
    )
    assert [names[i] for i in true] == ['take lid', 'put pan', 'take lid']
    assert [names[i] for i in best] == ['take lid', 'put cup', 'put pan']


def test_commands_write_figures_and_tables(tmp_path, capsys):
    a = write_dump(tmp_path / 'a.pkl', LABELS, RIGHT, 4)
    b = write_dump(tmp_path / 'b.pkl', LABELS, WRONG, 4)
    table = tmp_path / 't.csv'
    names = tmp_path / 'names.txt'
    names.write_text('zero\none\ntwo\nthree\n')
    common = ['--classes', names, '--csv', table]
    assert not run_figure('per_class_change', f'A={a}', f'B={b}', *common)
    assert is_png(tmp_path / 'per_class_change.png')
    row = read_csv(table)[1]
    assert (row['class'], float(row['change_over_B'])) == ('one', 50)
    assert not run_figure('confusion', b, *common)
    assert is_png(tmp_path / 'confusion.png')
    assert 'zero,one,1' in table.read_text()
    assert '1  zero  taken for  one' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (dict(labels=LABELS[1:], answers=WRONG[1:]), '6 and 5 clips'),
        (dict(labels=[1, *LABELS[1:]]), 'true label of clip 0: 0 and 1'),
        (dict(num_classes=5), "{'label': 4} and {'label': 5} classes"),
        (dict(files='abxdef'), 'file of clip 2: c.mp4 and x.mp4'),
        (None, '--dump writes it'),
        (['--classes', 'names.txt'], 'names 1 classes, but the scores are of'),
        (['--by-category'], "no category for 4 of 4 classes, first 'class 0'"),
    ],
)
def test_results_that_do_not_fit_are_named_in_one_sentence(
    tmp_path, capsys, monkeypatch, change, said
):
    monkeypatch.chdir(tmp_path)
    Path('names.txt').write_text('only one\n')

    def dump(
        path, labels=LABELS, answers=WRONG, num_classes=4, files='abcdef'
    ):
        files = [f'{path.stem}/{name}.mp4' for name in files]
        write_dump(path, labels, answers, num_classes, filename=files)

    dump(tmp_path / 'a.pkl')
    if change is not None:
        dump(
            tmp_path / 'b.pkl', **(change if isinstance(change, dict) else {})
        )
    extra = change if isinstance(change, list) else []
    assert run_figure('per_class_change', 'A=a.pkl', 'B=b.pkl', *extra) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert said in error
    assert not Path('per_class_change.png').exists()


@pytest.fixture
def marked(tmp_path):
    """Two dumps with a clip that cannot be read in the one, in the other."""
    files = [str(tmp_path / f'{number}.mp4') for number in range(5)]
    for name in files[:3]:
        write_clip(name, np.full((8, 32, 32, 3), 200, np.uint8), fps=8)
    labels = [0, 1, 2, 0, 1]
    return [
        write_dump(
            tmp_path / f'{name}.pkl',
            labels,
            answers,
            3,
            filename=files,
            unreadable=unreadable,
        )
        for name, answers, unreadable in (
            ('A', [0, 0, 2, 1, 0], [4]),
            ('B', [0, 1, 1, 0, 1], [3]),
        )
    ]


def test_unreadable_clips_reach_no_figure(marked, tmp_path, caplog):
    a, b = marked
    out = ['--out', tmp_path / 'p.png', '--csv', tmp_path / 't.csv']
    assert not run_figure('confusion', a, *out)
    assert sum(int(r['clips']) for r in read_csv(tmp_path / 't.csv')) == 4
    # Clips that one model could not read are left out for both.
    assert not run_figure('per_class_change', f'B={b}', f'A={a}', *out)
    assert sum(int(r['clips']) for r in read_csv(tmp_path / 't.csv')) == 3
    # The surest clip that B gains would be one without a file.
    ann_file = tmp_path / 'test.csv'
    rows = [f'{number}.mp4,{number % 3}' for number in range(5)]
    ann_file.write_text('file,label\n' + '\n'.join(rows) + '\n')
    listed = ['--ann-file', ann_file, '--data-root', tmp_path]
    for extra in ([], listed):
        assert not run_figure('sheet', f'A={a}', f'B={b}', *out[:2], *extra)
    clips = read_comparable([f'A={a}', f'B={b}'])
    assert pick_clips(clips, 'gained', 9) == [1]
    assert [Path(file).stem for file in clips['A'].files] == list('012')
    none = write_dump(tmp_path / 'n.pkl', [0, 1], [0, 1], 2, (0, 1))
    with pytest.raises(ValueError, match='no clip that could be read'):
        read_scores(none)


@pytest.fixture
def answers(tmp_path):
    files = [str(tmp_path / f'{i}.mp4') for i in range(4)]
    labels = [0, 1, 2, 0]
    write_dump(tmp_path / 'e.pkl', labels, [0, 0, 2, 1], 3)
    write_dump(tmp_path / 'o.pkl', labels, [0, 1, 1, 2], 3, filename=files)
    return [f'expert={tmp_path / "e.pkl"}', f'ours={tmp_path / "o.pkl"}']


def test_clips_are_picked_by_who_is_right(answers):
    results = read_comparable(answers)
    picked = {
        which: pick_clips(results, which, 9)
        for which in ('easy', 'gained', 'lost', 'hard')
    }
    assert picked == dict(easy=[0], gained=[1], lost=[2], hard=[3])
    truth, said = answers_to(1, results, dict(label=['a', 'b', 'c']))
    assert truth == 'b'
    assert [(a.text, a.right) for a in said] == [('a', False), ('b', True)]
    assert said[0].score == pytest.approx(0.5)


def test_a_sheet_shows_the_frames_of_the_clip(tmp_path, answers, capsys):
    out = ['--out', tmp_path / 'p.png']
    assert run_figure('sheet', *answers, *out) == 2
    assert '1.mp4' in capsys.readouterr().err
    frames = np.full((8, 32, 32, 3), 200, np.uint8)
    write_clip(str(tmp_path / '1.mp4'), frames, fps=8)
    assert not run_figure('sheet', *answers, *out)
    assert is_png(tmp_path / 'p.png')
    assert run_figure('sheet', answers[0], answers[0].replace('exp', 'x')) == 2
    assert "no clip of the kind 'gained'" in capsys.readouterr().err
