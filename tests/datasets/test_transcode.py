# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Trimming, resizing, taking the sound: exact, resumable, all or nothing."""

import csv
from pathlib import Path

import av
import numpy as np
import odd_media
import pytest
from test_readers import NAMES, opened, psnr

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.copy_span import copied_start, copy_span
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.file_jobs import make_files
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.transcode import (
    Encoding,
    encode,
    extract_sound,
    finished_or_nothing,
)
from ca2st_mm.datasets.video import narrow

TOOLS = Path(__file__).resolve().parents[2] / 'tools' / 'data'
SPAN = (11.24, 14.04)


@pytest.fixture(scope='module')
def long_file(tmp_path_factory):
    """20 seconds, key frames every 10, a tone that rises."""
    path = str(tmp_path_factory.mktemp('long') / 'long.mp4')
    t = np.arange(20 * odd_media.RATE) / odd_media.RATE
    sweep = (0.3 * np.sin(2 * np.pi * (200 + 20 * t) * t)).astype(np.float32)
    write_clip(path, odd_media.pictures(500), odd_media.FPS, sweep)
    return path


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))

    def load(name):
        return __import__(name)

    return load


def span_of(path, span):
    with opened(path, span=span) as reader:
        low, high = narrow(reader.frame_stamps, span)
        return reader.frame_stamps[low:high], reader.read(range(low, high))


def cut_out(how, source, target):
    """A clip, and the second of it at which the span starts."""
    if how == 'copy':
        copy_span(source, target, SPAN)
        return SPAN[0] - copied_start(source, SPAN)
    encode(source, target, Encoding(crf=10), SPAN)
    return 0.0


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('how', ['copy', 'encode'])
def test_a_trimmed_clip_holds_the_frames_of_the_span(
    long_file, tmp_path, how, name
):
    target = str(tmp_path / 'clip.mp4')
    zero = cut_out(how, long_file, target)
    assert zero == pytest.approx(1.24 if how == 'copy' else 0.0)
    stamps, frames = span_of(long_file, SPAN)
    with opened(target, name) as clip:
        inside = zero, zero + SPAN[1] - SPAN[0]
        low, high = narrow(clip.frame_stamps, inside)
        assert high - low == len(stamps) == 70
        assert clip.num_frames - high <= 4
        np.testing.assert_allclose(
            clip.frame_stamps[low:high] - zero, stamps - SPAN[0], atol=1e-3
        )
        got = clip.read(range(low, high))
    assert psnr(got, frames).min() > 33


@pytest.mark.parametrize('how', ['copy', 'encode'])
def test_the_sound_of_a_clip_keeps_its_place(long_file, tmp_path, how):
    target = str(tmp_path / 'clip.mp4')
    zero = cut_out(how, long_file, target)
    whole = read_audio(long_file, SPAN[0] + 0.5, SPAN[0] + 1.5)
    clip = read_audio(target, zero + 0.5, zero + 1.5)
    size = min(len(whole.waveform), len(clip.waveform))
    assert size > 15990
    pair = whole.waveform[:size], clip.waveform[:size]
    assert np.corrcoef(*pair)[0, 1] > 0.95


@pytest.mark.parametrize('name', NAMES)
def test_frames_that_an_edit_list_hides_stay_hidden(long_file, tmp_path, name):
    target = str(tmp_path / 'edited.mp4')
    with av.open(long_file) as reader, av.open(target, 'w') as writer:
        twin = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                shift = round(2 / packet.time_base)  # two seconds are hidden
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = twin
                writer.mux(packet)
    with opened(long_file) as whole, opened(target, name) as edited:
        hidden = whole.num_frames - edited.num_frames
        assert hidden == pytest.approx(50, abs=1)
        inds = np.array([0, 7, 100, 300])
        assert edited.frame_stamps[0] == pytest.approx(0, abs=0.041)
        frames = whole.read(hidden + inds)
        assert psnr(edited.read(inds), frames).min() > 35


def test_resizing_keeps_times_sound_and_the_way_up(long_file, tmp_path):
    target = str(tmp_path / 'small.mp4')
    encode(long_file, target, Encoding(short_side=32, key_every=10))
    with opened(long_file) as before, opened(target) as after:
        np.testing.assert_allclose(
            before.frame_stamps, after.frame_stamps, atol=1e-3
        )
        assert after.read([0]).shape[1:] == (32, 48, 3)
        assert np.diff(after._index.keys).max() <= 10
    old, new = read_audio(long_file), read_audio(target)
    assert np.array_equal(old.waveform, new.waveform)
    for name in ('rotated', 'variable_rate', 'odd_size', 'ten_bit'):
        path = str(tmp_path / f'{name}.mp4')
        odd_media.FILES[name](path)
        encode(path, target, Encoding(short_side=48))
        with opened(path) as before, opened(target) as after:
            np.testing.assert_allclose(
                before.frame_stamps, after.frame_stamps, atol=2e-3
            )
            old, new = before.read([9])[0], after.read([9])[0]
            assert (old.shape[0] > old.shape[1]) == (
                new.shape[0] > new.shape[1]
            )
            assert min(new.shape[:2]) == 48
            half = new.shape[0] // 2, new.shape[1] // 2
            quarter = old.shape[0] // 2, old.shape[1] // 2
            for rows in (slice(0, 1), slice(1, 2)):
                a = old[rows.start * quarter[0] :][: quarter[0] - 10]
                b = new[rows.start * half[0] :][: half[0] - 10]
                assert abs(a.mean() - b.mean()) < 12


def test_small_videos_are_not_enlarged(long_file, tmp_path):
    target = str(tmp_path / 'same.mp4')
    encode(long_file, target, Encoding(short_side=512), (0.0, 0.4))
    with opened(target) as reader:
        assert reader.read([0]).shape[1:] == (64, 96, 3)


@pytest.mark.parametrize('late', [0.0, 0.4])
def test_extracted_sound_shares_the_zero_of_the_video(tmp_path, late):
    source, target = str(tmp_path / 'a.mp4'), str(tmp_path / 'a.wav')
    click = np.zeros(32000, np.float32)
    click[8000:8200] = 0.8
    write_clip(source, odd_media.pictures(60), 25, click, starts=(0.0, late))
    extract_sound(source, target, 8000)
    sound = read_audio(target)
    assert sound.sample_rate == 8000 and sound.start == 0
    heard = np.argmax(np.abs(sound.waveform) > 0.4) / 8000
    assert heard == pytest.approx(late + 0.5, abs=0.01)


def test_all_or_nothing(tmp_path):
    broken = str(tmp_path / 'broken.mp4')
    odd_media.truncated_pictures(broken)
    target = tmp_path / 'out' / 'small.mp4'
    with pytest.raises(MediaError, match='small.mp4'):
        encode(broken, str(target), Encoding())
    assert list((tmp_path / 'out').iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        with finished_or_nothing(str(target)) as part:
            Path(part).write_bytes(b'half')
            raise KeyboardInterrupt
    assert list((tmp_path / 'out').iterdir()) == []


def test_faults_of_the_source(tmp_path):
    path = str(tmp_path / 'a.mp4')
    odd_media.no_sound(path)
    with pytest.raises(NoAudioError, match='a.mp4'):
        extract_sound(path, str(tmp_path / 'a.wav'))
    with pytest.raises(MediaError):
        encode(path, str(tmp_path / 'c.mp4'), Encoding(), (50.0, 51.0))


def test_finished_files_are_not_made_again(tmp_path):
    targets = [str(tmp_path / name) for name in 'abc']
    Path(targets[1]).write_text('finished')
    calls = []

    def make(target):
        calls.append(target)
        if target == targets[2]:
            raise MediaError('video', target, 'torn')
        Path(target).write_text('new')

    done = {d.target: d for d in make_files(targets, make, 2)}
    assert sorted(calls) == [targets[0], targets[2]]
    assert done[targets[1]].skipped and not done[targets[0]].fault
    assert 'torn' in done[targets[2]].fault
    assert Path(targets[1]).read_text() == 'finished'


@pytest.mark.parametrize('how', [[], ['--copy']])
def test_the_tool_that_trims(long_file, tmp_path, tool, capsys, how):
    folder, name = Path(long_file).parent, Path(long_file).name
    manifest = tmp_path / 'train.csv'
    manifest.write_text(
        'file,start,end,label,note\n'
        f'{name},1.0,2.0,3,first\n{name},12.5,13.5,4,second\n'
    )
    out = tmp_path / 'clips'
    command = [str(manifest), str(out), '--data-root', str(folder)]
    trim = tool('trim_clips').main
    assert trim([*command, *how, '--workers', '2']) == 0
    with open(out / 'train.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['label'] for row in rows] == ['3', '4']
    assert [row['note'] for row in rows] == ['first', 'second']
    assert ('start' in rows[0]) == bool(how)
    data = AudioVisualDataset(
        str(out / 'train.csv'), [], data_prefix=dict(video=str(out))
    )
    for info, start in zip(
        map(data.get_data_info, (0, 1)), (1, 12.5), strict=True
    ):
        span = info['clip_start'], info['clip_end']
        _, frames = span_of(info['filename'], span)
        _, truth = span_of(long_file, (start, start + 1))
        assert frames.shape == truth.shape
        assert psnr(frames, truth).min() > 30
    assert trim(command) == 0
    assert '0 made, 2 there before, 0 failed' in capsys.readouterr().out


def test_the_tools_for_folders(tmp_path, tool, capsys):
    videos = tmp_path / 'videos' / 'deep'
    videos.mkdir(parents=True)
    odd_media.silent(videos / 'good.mp4')
    odd_media.truncated(videos / 'bad.mov')
    for name, ext in (('resize_videos', 'mp4'), ('extract_audio', 'wav')):
        out = tmp_path / name
        command = [str(tmp_path / 'videos'), str(out), '--workers', '2']
        assert tool(name).main(command) == 1
        text = capsys.readouterr()
        assert '1 made, 0 there before, 1 failed' in text.out
        assert 'bad.mov' in text.err
        with av.open(str(out / 'deep' / f'good.{ext}')):
            pass
        assert len(list((out / 'deep').iterdir())) == 1
    odd_media.silent(videos / 'bad.mp4')
    with pytest.raises(ValueError, match='rename one'):
        tool('extract_audio').main([str(tmp_path / 'videos'), 'x'])
