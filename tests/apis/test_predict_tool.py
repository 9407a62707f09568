# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command says what it does; every entry point gives the same answer."""

import csv
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from answer_files import AnswerFile
from tool_runs import ROOT, read_dump, run_tool
from toy_recognizer import write_noise

from ca2st_mm import Recognizer
from ca2st_mm.apis.windows import merge_windows, windows_of
from ca2st_mm.datasets.toy import class_names

LIST = ROOT / 'tools/analysis/paper_rows.csv'


def scores_of(record):
    """Scores in the order of the classes."""
    named = {p['label']: p['score'] for p in record['ranked']['label']}
    return np.array([named[name] for name in class_names()])


def test_every_entry_point_gives_the_same_answer(
    saved, clips, recognizer, predict, toy, tmp_path
):
    """Python, the command, windows and the test, of files and of spans."""
    clips, long = clips[:2], str(tmp_path / 'long.mp4')
    write_noise(long, 6, rate=16000)
    found = recognizer.predict(clips, top_k=12, batch_size=2)
    found += [recognizer.predict(long, *s, 12)[0] for s in ((2, 4), (4, 6))]
    expected = [scores_of(prediction.as_record()) for prediction in found]
    # The command, file by file.
    out = tmp_path / 'out.json'
    assert predict(*clips, '--json', out, '--top-k', 12) == 0
    for record, scores in zip(
        json.loads(out.read_text()), expected, strict=False
    ):
        np.testing.assert_allclose(scores_of(record), scores, atol=1e-5)
    # One window as long as the file: the very logits.
    for clip, prediction in zip(clips, found, strict=False):
        [window] = recognizer.predict_each(windows_of(clip, 60, 60))
        np.testing.assert_allclose(
            window.logits['label'], prediction.logits['label'], atol=1e-5
        )
    # The test, of the same files and spans.
    rows = [
        *(f'{clip},0,,' for clip in clips),
        *(f'{long},0,{start},{start + 2}' for start in (2, 4)),
    ]
    text = '\n'.join(['file,label,start,end', *rows])
    (tmp_path / 'list.csv').write_text(text + '\n')
    dataset, dump = 'test_dataloader.dataset', tmp_path / 'dump.pkl'
    options = (
        f'{dataset}.ann_file={tmp_path / "list.csv"}',
        f'{dataset}.classes={toy / "classes.txt"}',
    )
    arguments = (*saved['ca2st'], '--dump', dump, '--work-dir', tmp_path / 'w')
    assert run_tool('test.py', *arguments, '--cfg-options', *options) == 0
    tested = [sample['pred_score'].numpy() for sample in read_dump(dump)]
    np.testing.assert_allclose(tested, expected, atol=1e-5)


def test_it_prints_names_frames_and_seconds(predict, clip, capsys):
    assert predict(clip, '--explain', '--top-k', 2) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(clip)
    names = [line.split('%  ')[1] for line in lines[at + 1 : at + 3]]
    assert set(names) < set(class_names())
    text = '\n'.join(lines[at + 3 :])
    assert 'clip 1, frames: 0 1 2' in text
    assert 'clip 2, seconds: 0.000' in text
    assert 'audio, seconds: ' in text


def test_what_the_model_lacks_is_named(predict, capsys):
    assert predict(__file__, '--missing-audio', 'drop', model='cast') == 2
    assert 'does not use audio' in capsys.readouterr().err


def test_a_bad_file_in_a_folder_stops_none(
    predict, clip, broken, silent, tmp_path, capsys
):
    folder = tmp_path / 'clips'
    folder.mkdir()
    for name, path in dict(a=broken, b=clip, c=silent).items():
        shutil.copy(path, folder / f'{name}.mp4')
    out = tmp_path / 'out.csv'
    flags = ('--batch-size', 2, '--missing-audio', 'raise')
    assert predict(folder, '--csv', out, *flags) == 1
    shown = capsys.readouterr()
    stopped = tmp_path / 'stopped.csv'
    assert predict(folder, '--csv', stopped, '--errors', 'raise') == 2
    assert 'a.mp4' in stopped.read_text()
    assert 'b.mp4' not in stopped.read_text()
    assert '--errors raise' in capsys.readouterr().err
    assert f'{folder / "a.mp4"}: video: ' in shown.err
    assert f'{folder / "c.mp4"}: it has no audio' in shown.err
    assert str(folder / 'b.mp4') in shown.out
    with open(out, newline='') as file:
        rows = list(csv.DictReader(file))
    failed = {row['source'] for row in rows if row['error']}
    assert failed == {str(folder / 'a.mp4'), str(folder / 'c.mp4')}
    assert [r['rank'] for r in rows if not r['error']] == list('12345')


@pytest.mark.parametrize(
    'policy, said',
    [
        ('silence', 'no audio: silence was put in its place'),
        ('drop', 'no audio: predicted without the expert audio'),
    ],
)
def test_what_is_reported_of_missing_audio_is_what_ran(
    saved, recognizer, predict, silent, tmp_path, capsys, policy, said
):
    """By the config and by the flag: one sentence, one answer."""
    config, checkpoint = saved['ca2st']
    [expected] = recognizer.predict(silent, missing_audio=policy)
    option = f'test_dataloader.dataset.pipeline.5.missing_audio={policy}'
    by_config = ('--config', config, '--checkpoint', checkpoint)
    out = tmp_path / 'out.json'
    flags = (*by_config, '--device', 'cpu', '--json', out)
    option = ('--cfg-options', option)
    assert run_tool('predict.py', silent, *flags, *option) == 0
    [configured] = json.loads(out.read_text())
    assert f'\n  {said}\n' in capsys.readouterr().out
    flags = ('--missing-audio', policy, '--overwrite')
    assert predict(silent, *flags, '--json', out) == 0
    assert f'\n  {said}\n' in capsys.readouterr().out
    [by_flag] = json.loads(out.read_text())
    assert by_flag.pop('model') == configured.pop('model') == checkpoint
    assert by_flag.pop('settings') != configured.pop('settings')
    assert by_flag == configured == expected.as_record()
    if policy == 'drop':  # the config refuses, no flag says otherwise
        [prediction] = recognizer.predict(silent)
        assert prediction.as_record() == expected.as_record()


@pytest.mark.parametrize('ending', ['csv', 'json', 'jsonl'])
def test_a_list_is_continued_and_nothing_is_lost(
    predict, recognizer, clips, broken, tmp_path, capsys, monkeypatch, ending
):
    folder, out = tmp_path / 'clips', tmp_path / f'out.{ending}'
    folder.mkdir()
    for name, path in dict(a=clips[0], b=broken, c=clips[1]).items():
        shutil.copy(path, folder / f'{name}.mp4')
    flags = (f'--{ending[:4]}', out, '--top-k', 2)
    assert predict(folder, *flags) == 1
    whole = out.read_text()
    # Killed in the middle of the last answer; the bad clip is whole again.
    out.write_text(whole[: whole.rindex('c.mp4') + 30])
    shutil.copy(clips[2], folder / 'b.mp4')
    predicted = []
    prepare = Recognizer.prepare

    def watch(self, source, *options):
        predicted.append(Path(source).name)
        return prepare(self, source, *options)

    monkeypatch.setattr(Recognizer, 'prepare', watch)
    for _ in range(2):
        assert predict(folder, *flags) == 0
        assert predicted == ['b.mp4', 'c.mp4']
    settings = {k: v[:12] for k, v in recognizer.fingerprint().items()}
    settings |= dict(
        top_k=2, threshold=0.0, window=None, stride=None, missing_audio=None
    )
    settings['modalities'] = False
    with AnswerFile(str(out), 'model', settings) as file:
        names = [Path(source).name for source, *_ in file.rankings]
        assert names == ['a.mp4', 'b.mp4', 'c.mp4']
        assert {len(ranking) for ranking in file.rankings.values()} == {2}
    assert 'answers are there already' in capsys.readouterr().err
    # Another best checkpoint under the same name; other flags; another model.
    for more, model, what in (
        ((), 'ca2st', 'weights'),
        (('--window', 1, '--top-k', 3), 'ca2st', 'top_k, weights, window'),
        ((), 'cast', 'config, weights'),
    ):
        head = recognizer.model.cls_head.fc_cls
        with monkeypatch.context() as patch:
            patch.setitem(head._parameters, 'bias', head.bias + 1)
            assert predict(folder, *flags, *more, model=model) == 2
        said = capsys.readouterr().err
        assert f'{out} holds answers with other {what}; name' in said
    assert not list(tmp_path.glob('*.part'))
    out.write_text('my notes\nof today\n')
    assert predict(folder, *flags) == 2
    assert 'holds no answers that can be' in capsys.readouterr().err
    assert out.read_text() == 'my notes\nof today\n'


def test_lists_name_clips_with_their_spans(predict, clips, tmp_path):
    rows = [f'{clips[0]},,0.25,1', f'{clips[1]},{clips[0]},,']
    ann_file, plain = tmp_path / 'list.csv', tmp_path / 'list.txt'
    ann_file.write_text('\n'.join(['file,audio,start,end', *rows]) + '\n')
    shutil.copy(clips[2], tmp_path / 'my clip 1 über.mp4')
    plain.write_text('my clip 1 über.mp4\n')
    out = tmp_path / 'out.json'
    assert predict(ann_file, plain, '--json', out, '--batch-size', 2) == 0
    spans = [
        (r['source'], r['start'], r['end'])
        for r in json.loads(out.read_text())
    ]
    named = str(tmp_path / 'my clip 1 über.mp4')
    assert spans == [
        (clips[0], 0.25, 1.0),
        (clips[1], None, None),
        (named, None, None),
    ]


def test_a_threshold_makes_unknown_and_events_leave_it_out(
    predict, tmp_path, recognizer
):
    long, events = tmp_path / 'long.mp4', tmp_path / 'events.csv'
    write_noise(str(long), 4, rate=8000)
    found = list(recognizer.predict_each(windows_of(str(long), 1, 1)))
    best = [prediction.best[0] for prediction in found]
    threshold = max(score for _, score in best)
    out = tmp_path / 'out.csv'
    flags = ('--window', 1, '--csv', out, '--events', events)
    flags = (*flags, '--threshold', threshold - 1e-6)
    assert predict(long, *flags) == 0
    rows = list(csv.DictReader(out.open()))
    unknown = [row['label'] == 'unknown' for row in rows]
    assert sum(unknown) == sum(s < threshold - 1e-6 for _, s in best)
    [event] = csv.DictReader(events.open())
    place = [score for _, score in best].index(threshold)
    assert (event['label'], float(event['start'])) == (best[place][0], place)
    # Of the answers on disk, predicted now or not.
    assert predict(long, *flags) == 0
    assert [*csv.DictReader(events.open())] == [event]
    assert predict(long, '--window', 1, '--events', events) == 2
    # A new table continues none, so this file is somebody's.
    flags = ('--window', 1, '--csv', tmp_path / 'new.csv', '--events', events)
    assert predict(long, *flags) == 2


def test_windows_that_follow_each_other_are_one_event():
    a, b, unknown = (('a', 0.8),), (('b', 0.4),), (('unknown', 0.3),)
    rankings = {
        ('x', 0.0, 2.0): a,
        ('x', 1.0, 3.0): (('a', 0.6), ('b', 0.3)),
        ('x', 2.0, 4.0): b,
        ('x', 3.0, 5.0): unknown,
        ('x', 9.0, 11.0): b,
        ('y', 0.0, 2.0): (),
        ('y', 2.0, 4.0): a,
        ('z', None, None): a,
    }
    taken = []
    windows = (taken.append(key) or (key, rankings[key]) for key in rankings)
    events = merge_windows(windows)
    first = next(events)
    assert len(taken) == 4  # it has ended two windows before
    events = [first, *events]
    assert [(*event[:4], round(event[4], 3)) for event in events] == [
        ('x', 0.0, 2.5, 'a', 0.7),
        ('x', 2.5, 3.5, 'b', 0.4),
        ('x', 9.0, 11.0, 'b', 0.4),
        ('y', 2.0, 4.0, 'a', 0.8),
    ]
    several = merge_windows(rankings.items(), multi_label=True)
    assert ('x', 1.5, 3.5, 'b') in [event[:4] for event in several]


def test_captions_are_those_of_the_video_named(
    predict, clips, tmp_path, monkeypatch
):
    """Of a table that holds other clips, too."""
    drawn = []
    monkeypatch.setattr(
        'annotated_video.annotate',
        lambda source, target, captions: drawn.extend(captions),
    )
    table = ('--csv', tmp_path / 'out.csv')
    assert predict(*clips[:2], *table) == 0
    assert predict(clips[1], *table, '--annotate', tmp_path / 'o.mp4') == 0
    rows = list(csv.DictReader((tmp_path / 'out.csv').open()))
    [caption] = drawn
    assert rows[5]['label'] in caption.lines[0]


def test_the_annotated_video_keeps_time_and_audio(predict, tmp_path):
    source, target = tmp_path / 'a.mkv', tmp_path / 'out.mp4'
    write_noise(str(source), 3, rate=16000)
    windows = ('--window', 1.5)
    assert predict(source, '--annotate', target, *windows) == 0
    packets, times, frames = [], [], []
    for path in (source, target):
        with av.open(str(path)) as file:
            packets.append([bytes(p) for p in file.demux(audio=0) if p.size])
        with av.open(str(path)) as file:
            decoded = list(file.decode(video=0))
        times.append([frame.time for frame in decoded])
        frames.append(decoded[20].to_ndarray(format='rgb24').astype(float))
    assert packets[0] == packets[1]
    np.testing.assert_allclose(*times, atol=1e-3)
    assert np.abs(frames[0][:10] - frames[1][:10]).mean() < 10  # no caption
    assert frames[1][-6:].mean() < frames[0][-6:].mean() - 20  # the dark band


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['a.mp4'], 'name either --model, or'),
        (['a.mp4', '--model', 'x', '--config', 'y', '--checkpoint', 'z'], '-'),
        ([__file__, '--config', 'gone.py', '--checkpoint', 'z'], 'gone.py'),
        ([__file__, '--model', 'gone.pth'], "no checkpoint file 'gone.pth'"),
        ([__file__, '--model', 'cast_k40'], "there is no 'cast_k40'"),
        (['a.mp4', '--model', 'x', '--stride', 1], 'needs --window'),
        (['a.mp4', '--model', 'x', '--config', 'y'], 'leave --config and'),
        (['a.mp4', '--model', 'x', '--checkpoint', 'y'], 'leave --config and'),
        (
            ['webcam:0', '--model', 'x', '--batch-size', 4],
            'leave --batch-size',
        ),
        (['webcam:0', 'a.mp4', '--model', 'x'], 'a stream goes alone'),
        (['a', 'b', '--model', 'x', '--annotate', 'o.mp4'], 'takes one file'),
        ([LIST, '--model', 'x', '--annotate', 'o.mp4'], 'takes one file'),
        (['a.mp4', '--model', 'x', '--csv', 'no/such/a.csv'], 'no/such/a.csv'),
        ([__file__, '--model', 'x', '--device', 'gpu'], 'device gpu cannot'),
        (['a', '--model', 'x', '--cfg-options', 'a=1'], 'name one'),
        (['a', 'b', '--model', 'gone.pth'], 'there is no file a;'),
        (['a', '--stream', '--model', 'gone.pth'], 'there is no file a;'),
        (['a.csv', '--model', 'x', '--csv', 'a.csv'], 'be overwritten'),
        (['a', '--model', 'x', '--csv', 'b', '--json', 'b'], 'be overwritten'),
        (['a', '--model', 'x', '--csv', '.'], '. is a folder'),
        ([__file__, '--model', 'x', '--annotate', 'a.txt'], '.mp4 or .mkv'),
    ],
)
def test_bad_flags_end_in_one_sentence(arguments, message, capsys):
    assert run_tool('predict.py', *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith('error: ') and said.count('\n') == 1


@pytest.mark.parametrize(
    'option', ['test_dataloader=1', 'model=1', 'model.backbone.experts=1']
)
def test_options_that_break_the_config_are_named(saved, clip, capsys, option):
    config, checkpoint = saved['cast']
    model = ('--config', config, '--checkpoint', checkpoint)
    flags = (*model, '--device', 'cpu', '--cfg-options', option)
    assert run_tool('predict.py', clip, *flags) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith('error: ')


@pytest.mark.parametrize('flag', ['--window', '--stride'])
@pytest.mark.parametrize('length', [0, -1, 'nan', 'inf', 'x'])
def test_lengths_are_seconds_above_zero(flag, length, capsys):
    lengths = {'--window': 2, flag: length}
    flags = [str(word) for pair in lengths.items() for word in pair]
    assert run_tool('predict.py', 'a.mp4', '--model', 'x', *flags) == 2
    assert f'argument {flag}: ' in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(saved, clip, capsys):
    wrong = ('--config', saved['cast'][0], '--checkpoint', saved['ca2st'][1])
    assert run_tool('predict.py', clip, *wrong, '--device', 'cpu') == 2
    assert 'is not a checkpoint of this model' in capsys.readouterr().err
