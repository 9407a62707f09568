# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command says what it does; every entry point gives the same answer."""

import csv
import json
import shutil

import av
import numpy as np
import pytest
from tool_runs import read_dump, run_tool
from toy_recognizer import write_noise

from ca2st_mm.apis.many_files import predict_each
from ca2st_mm.apis.windows import Windows
from ca2st_mm.datasets.toy import class_names


def scores_of(record):
    """Scores in the order of the classes."""
    named = {p['label']: p['score'] for p in record['ranked']['label']}
    return np.array([named[name] for name in class_names()])


def test_every_entry_point_gives_the_same_answer(
    saved, clips, recognizer, predict, tmp_path
):
    clips = clips[:4]
    answers = {}
    # The interface of Python: logits, and averages of them.
    found = recognizer.predict(clips, top_k=12, batch_size=4)
    records = [prediction.as_record() for prediction in found]
    answers['python'] = [scores_of(record) for record in records]
    # The command, file by file.
    out = tmp_path / 'out.json'
    assert predict(*clips, '--json', out, '--top-k', 12) == 0
    answers['command'] = [scores_of(r) for r in json.loads(out.read_text())]
    # One window as long as the file: the very logits.
    for clip, prediction in zip(clips, found, strict=True):
        [window] = predict_each(recognizer, Windows(clip, 60, 60))
        np.testing.assert_allclose(
            window.logits['label'], prediction.logits['label'], atol=1e-5
        )
    # The test.
    config, checkpoint = saved['ca2st']
    dump = tmp_path / 'dump.pkl'
    folder = ('--work-dir', tmp_path / 'work')
    arguments = (config, checkpoint, '--dump', dump, *folder)
    assert run_tool('test.py', *arguments) == 0
    by_file = {s['filename']: s['pred_score'] for s in read_dump(dump)}
    answers['test'] = [by_file[clip].numpy() for clip in clips]
    for way in ('command', 'test'):
        np.testing.assert_allclose(
            answers[way], answers['python'], atol=1e-5, err_msg=way
        )


def test_a_span_is_the_clip_that_the_test_cuts_out(
    saved, recognizer, toy, tmp_path
):
    config, checkpoint = saved['ca2st']
    long = tmp_path / 'long.mp4'
    write_noise(str(long), 6, rate=16000)
    rows = 'file,label,start,end\nlong.mp4,0,2,4\nlong.mp4,0,4,6\n'
    (tmp_path / 'spans.csv').write_text(rows)
    dataset = 'test_dataloader.dataset'
    options = (
        f'{dataset}.data_root={tmp_path}',
        f'{dataset}.data_prefix.video=.',
        f'{dataset}.data_prefix.audio=.',
        f'{dataset}.ann_file=spans.csv',
        f'{dataset}.classes={toy / "classes.txt"}',
    )
    dump = tmp_path / 'dump.pkl'
    folder = ('--work-dir', tmp_path / 'work')
    arguments = (config, checkpoint, '--dump', dump, *folder)
    assert run_tool('test.py', *arguments, '--cfg-options', *options) == 0
    tested = [sample['pred_score'].numpy() for sample in read_dump(dump)]
    for (start, end), scores in zip([(2, 4), (4, 6)], tested, strict=True):
        [prediction] = recognizer.predict(long, start, end, top_k=12)
        record = prediction.as_record()
        np.testing.assert_allclose(scores_of(record), scores, atol=1e-5)


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


def test_verbs_nouns_and_actions_are_printed(predict, clip, capsys):
    assert predict(clip, '--top-k', 1, model='verb_noun') == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(clip)
    tasks = [line.strip() for line in lines[at + 1 : at + 7 : 2]]
    assert tasks == ['verb', 'noun', 'action']


def test_a_bad_file_in_a_folder_stops_none(
    predict, clip, broken, silent, tmp_path, capsys
):
    folder = tmp_path / 'clips'
    folder.mkdir()
    for name, path in dict(a=broken, b=clip, c=silent).items():
        shutil.copy(path, folder / f'{name}.mp4')
    out = tmp_path / 'out.csv'
    assert predict(folder, '--csv', out, '--batch-size', 2) == 1
    shown = capsys.readouterr()
    assert f'{folder / "a.mp4"}: video: ' in shown.err
    assert f'{folder / "c.mp4"}: it has no audio' in shown.err
    assert 'LoadAudio(missing=' in shown.err
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
    option = f'test_dataloader.dataset.pipeline.5.missing={policy}'
    by_config = ('--config', config, '--checkpoint', checkpoint)
    out = tmp_path / 'out.json'
    flags = (*by_config, '--device', 'cpu', '--json', out)
    option = ('--cfg-options', option)
    assert run_tool('predict.py', silent, *flags, *option) == 0
    configured = json.loads(out.read_text())
    assert f'\n  {said}\n' in capsys.readouterr().out
    flags = ('--missing-audio', policy)
    assert predict(silent, *flags, '--json', out) == 0
    assert f'\n  {said}\n' in capsys.readouterr().out
    assert json.loads(out.read_text()) == configured == [expected.as_record()]


def test_audio_that_cannot_be_dropped_is_refused(predict, silent, capsys):
    flags = ('--missing-audio', 'drop')
    assert predict(silent, *flags, model='cast') == 2
    assert 'the model does not use audio' in capsys.readouterr().err


def test_windows_make_a_table_of_times(predict, tmp_path):
    long, out = tmp_path / 'long.mp4', tmp_path / 'out.csv'
    write_noise(str(long), 5, rate=8000)
    windows = ('--window', 2, '--stride', 1, '--top-k', 1)
    assert predict(long, *windows, '--csv', out) == 0
    with open(out, newline='') as file:
        rows = list(csv.DictReader(file))
    spans = [(float(row['start']), float(row['end'])) for row in rows]
    assert spans == [(0, 2), (1, 3), (2, 4), (3, 5)]
    assert {row['audio'] for row in rows} == {'yes'}


def test_a_replayed_camera_goes_through_the_command(predict, silent, tmp_path):
    out = tmp_path / 'out.json'
    camera = f'camera:{silent}'
    assert predict(camera, '--json', out, model='cast') == 0
    records = json.loads(out.read_text())
    assert [record['start'] for record in records] == [0, 2, 4, 6]
    assert {record['source'] for record in records} == {camera}


@pytest.mark.parametrize('name', ['flute_guitar_aac.mp4', 'pcm.mkv'])
def test_the_annotated_video_keeps_time_and_sound(predict, tmp_path, name):
    source, target = tmp_path / name, tmp_path / 'out.mp4'
    write_noise(str(source), 3, rate=16000)
    windows = ('--window', 1.5)
    assert predict(source, '--annotate', target, *windows) == 0
    with av.open(str(source)) as a, av.open(str(target)) as b:
        times = [[f.time for f in c.decode(video=0)] for c in (a, b)]
        np.testing.assert_allclose(times[0], times[1], atol=1e-3)
    with av.open(str(source)) as a, av.open(str(target)) as b:
        packets = [
            [bytes(p) for p in c.demux(audio=0) if p.size] for c in (a, b)
        ]
        assert packets[0] == packets[1]
    last = [_picture(path, 20) for path in (source, target)]
    assert np.abs(last[0][:10] - last[1][:10]).mean() < 10  # nothing there
    assert last[1][-6:].mean() < last[0][-6:].mean() - 20  # the dark band


def _picture(path, number):
    with av.open(str(path)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n == number:
                return frame.to_ndarray(format='rgb24').astype(float)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['a.mp4'], 'name either --model, or'),
        (['a.mp4', '--model', 'x', '--config', 'y', '--checkpoint', 'z'], '-'),
        (['a.mp4', '--config', 'gone.py', '--checkpoint', 'z'], 'gone.py'),
        (['a.mp4', '--model', 'gone.pth'], "no checkpoint file 'gone.pth'"),
        (['a.mp4', '--model', 'cast_k40'], "The zoo has no 'cast_k40'"),
        (['a.mp4', '--model', 'x', '--stride', 1], 'needs --window'),
        (['a.mp4', '--model', 'x', '--config', 'y'], 'leave --config and'),
        (['a.mp4', '--model', 'x', '--checkpoint', 'y'], 'leave --config and'),
        (
            ['webcam:0', '--model', 'x', '--batch-size', 4],
            'leave --batch-size',
        ),
        (['webcam:0', 'a.mp4', '--model', 'x'], 'webcam:0 goes alone'),
        (['a', 'b', '--model', 'x', '--annotate', 'o.mp4'], 'takes one file'),
        (['a.mp4', '--model', 'x', '--csv', 'no/such/a.csv'], 'no/such/a.csv'),
        (['a.mp4', '--model', 'x', '--device', 'gpu'], 'device gpu cannot'),
        (['a', '--model', 'x', '--cfg-options', 'a=1'], 'name one'),
        (['a.csv', '--model', 'x', '--csv', 'a.csv'], 'be overwritten'),
        (['a', '--model', 'x', '--csv', 'b', '--json', 'b'], 'be overwritten'),
        (['a', '--model', 'x', '--csv', '.'], '. is a folder'),
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


def test_an_annotated_video_needs_a_container(predict, clip, capsys):
    assert predict(clip, '--annotate', 'out.txt') == 2
    assert '.mp4 or .mkv' in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(saved, clip, capsys):
    wrong = ('--config', saved['cast'][0], '--checkpoint', saved['ca2st'][1])
    flags = ('--device', 'cpu')
    assert run_tool('predict.py', clip, *wrong, *flags) == 2
    assert 'is not a checkpoint of this model' in capsys.readouterr().err


def test_a_camera_that_is_not_there_is_named(predict, capsys):
    assert predict('camera:gone.mp4') == 1
    assert 'camera:gone.mp4: video: No such file' in capsys.readouterr().err
