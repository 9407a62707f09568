# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Trimming, resizing, taking the audio: exact, resumable, all or nothing."""

import csv

import extract_audio as audio_tool
import numpy as np
import odd_media
import pytest
import resize_videos
import trim_clips
from numbered_media import CELLS, FPS, ffmpeg, make, number_of, pitch_of

from ca2st_mm.datasets import transcode
from ca2st_mm.datasets.annotations import read_annotations
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import (
    EmptyClipError,
    MediaError,
    NoAudioError,
)
from ca2st_mm.datasets.transcode import (
    Encoding,
    copy_span,
    encode,
    extract_audio,
    find_copied_span,
)
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.utils.errors import UsageError

COUNT, FIRST, STOP = 90, 33, 59
CUT_BY_COPYING = ('h264_b2_g12.mp4', 'h264_b2_g12.ts', 'hevc_open.mp4')


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """Numbered files by the name of their cell, and where a span lies."""
    folder = tmp_path_factory.mktemp('sources')

    def find(name):
        path = folder / name
        if not path.exists():
            make(path, CELLS[name], COUNT)
        with PyAVReader(str(path)) as video:
            stamps = video.frame_times
        span = stamps[FIRST] - 0.5 / FPS, stamps[STOP - 1] + 0.5 / FPS
        return str(path), tuple(float(second) for second in span)

    return find


def shown(path, span=(None, None)):
    """Numbers of the frames in a span, and their seconds."""
    with PyAVReader(str(path), span=span) as video:
        low, stop = video.frames_in(span)
        frames = video.read(np.arange(low, stop))
        return [number_of(f) for f in frames], video.frame_times[low:stop]


def pitch_at(path, second):
    audio = read_audio(str(path), second - 0.1, second + 0.1)
    return round(pitch_of(audio.waveform, audio.sample_rate), -1)


def pitches_around(path, second):
    return [pitch_at(path, second - 0.3), pitch_at(path, second + 0.3)]


@pytest.mark.parametrize(
    'name',
    [
        *('h264_b2_g12.mp4', 'h264_b3_g250.mkv', 'h264_b2_g12.ts'),
        *('h264_b2_g12.flv', 'mpeg2.mpg', 'mpeg4_b2.avi', 'wmv2.wmv'),
        *('vp8.webm', 'hevc_open.mp4', 'anim.gif'),
    ],
)
def test_a_cut_clip_holds_the_frames_of_the_span(sources, tmp_path, name):
    source, span = sources(name)
    target, copied = tmp_path / 'clip.mp4', tmp_path / 'copied.mp4'
    encode(source, str(target), Encoding(), span)
    numbers, stamps = shown(target)
    assert numbers == list(range(FIRST, STOP))
    assert stamps[0] == pytest.approx(0.02, abs=0.01)
    late = 2.0 - FIRST / FPS  # where the tone of second 2 begins
    if name.endswith('gif'):
        assert read_audio(str(target)) is None
    else:
        assert pitches_around(target, late) == [600, 800]
    if name.endswith('ts'):  # the same audio in a file of its own
        audio = str(tmp_path / 'own.wav')
        extract_audio(source, audio)
        encode(source, str(target), Encoding(), span, audio)
        assert pitches_around(target, late) == [600, 800]
    try:
        inside = copy_span(source, str(copied), span)
    except MediaError as error:
        assert 'without --copy' in str(error) and not copied.exists()
        assert name not in CUT_BY_COPYING
    else:
        assert inside == find_copied_span(source, str(copied), span)
        assert shown(copied, inside)[0] == numbers
        assert pitches_around(copied, inside[0] + late) == [600, 800]


@pytest.mark.parametrize(
    'name', ['h264_b2_g12.mp4', 'vp9.webm', 'mpeg2.mpg', 'mpeg4_b2.avi']
)
def test_resizing_keeps_times_and_audio(sources, tmp_path, name):
    source, _ = sources(name)
    target = str(tmp_path / 'small.mp4')
    encode(source, target, Encoding(short_side=16, key_every=10))
    numbers, stamps = shown(target)
    assert numbers == list(range(COUNT))
    np.testing.assert_allclose(stamps, shown(source)[1], atol=2e-3)
    with PyAVReader(target) as video:
        assert video.read([0]).shape[1:] == (16, 64, 3)
    zero = stamps[0]
    assert [pitch_at(target, zero + s) for s in (0.5, 2.5)] == [400, 800]


def test_resized_frames_are_those_that_players_show(sources, tmp_path):
    """Turned, with square pixels, never enlarged, at their times."""
    odd, turned = tmp_path / 'odd.mp4', str(tmp_path / 'turned.mp4')
    change = "setsar=2,setpts='(N+0.4*mod(N,3))/25/TB'"
    ffmpeg('-i', sources('h264_b2_g12.mp4')[0], '-vf', change, odd)
    ffmpeg('-display_rotation', 90, '-i', odd, '-c', 'copy', turned)
    target = str(tmp_path / 'new.mp4')
    encode(turned, target, Encoding(short_side=512))
    with (
        PyAVReader(turned) as before,
        PyAVReader(target, square_pixels=False) as after,
    ):
        np.testing.assert_allclose(
            before.frame_times, after.frame_times, atol=2e-3
        )
        old, new = before.read([9])[0], after.read([9])[0]
    assert new.shape == (256, 32, 3)
    assert np.abs(old.astype(int) - new).mean() < 8


@pytest.mark.parametrize(('extension', 'late'), [('ts', 0.4), ('mp4', 0)])
def test_extracted_audio_starts_with_its_video(
    sources, tmp_path, late, extension
):
    source, target = tmp_path / f'a.{extension}', tmp_path / 'a.wav'
    plain, _ = sources('h264_b2_g12.mp4')
    maps = ('-map', '0:v', '-map', '1:a')
    ffmpeg('-i', plain, '-itsoffset', late, '-i', plain, *maps, source)
    extract_audio(str(source), str(target), 8000)
    audio = read_audio(str(target))
    assert audio.sample_rate == 8000 and audio.start == 0
    pitches = [pitch_at(target, late + second) for second in (0.9, 1.1)]
    assert pitches[0] == 400 or pitches[1] == 600
    assert pitch_at(target, late + 1.3) == 600


def test_painted_frames_keep_their_time_and_audio(sources, tmp_path):
    source, _ = sources('h264_b2_g12.ts')
    target, seen = str(tmp_path / 'painted.mp4'), []

    def paint(pixels, second):
        seen.append(second)
        return np.full_like(pixels, 200)

    encode(source, target, Encoding(), paint=paint)
    with PyAVReader(target) as video:
        assert video.read([COUNT - 1]).mean() == pytest.approx(200, abs=4)
        stamps = video.frame_times
    np.testing.assert_allclose(seen, stamps, atol=2e-3)
    # The tone of second 1 starts at frame 25.
    assert pitch_at(target, stamps[25] + 0.3) == 600


@pytest.mark.parametrize('audio', [(), ('-an',)])
def test_below_zero_clips_are_exact(sources, tmp_path, audio):
    path, target = tmp_path / 'below.mkv', str(tmp_path / 'new.mp4')
    keep = ('-c', 'copy', '-avoid_negative_ts', 'disabled', *audio)
    source, _ = sources('h264_b2_g12.mp4')
    ffmpeg('-itsoffset', '-1', '-i', source, *keep, path)
    for span in ((-0.9, -0.1), (0.5, 1.5), (-0.7, 0.7)):
        encode(str(path), target, Encoding(), span)
        assert shown(target)[0] == shown(path, span)[0]
        if not audio and span[0] == -0.7:  # second 1 starts after 0.7 s
            assert pitches_around(target, 0.7) == [400, 600]
    with pytest.raises(MediaError, match='below.mkv.*before 0'):
        encode(str(path), target, Encoding())


def test_frames_of_one_time_are_kept_apart(tmp_path):
    jitter = "setpts='(N+0.4*mod(N,3))/25/TB'"
    odd = ('-vf', jitter, '-fps_mode', 'passthrough')
    options = (*CELLS['h264_b2_g12.flv'], *odd, '-enc_time_base', '1/1000')
    source = str(make(tmp_path / 'odd.flv', options, COUNT))
    target = str(tmp_path / 'new.mp4')
    encode(source, target, Encoding())
    (true, seconds), (made, times) = shown(source), shown(target)
    assert np.diff(seconds).min() == 0 and made == true
    np.testing.assert_allclose(times, seconds, atol=5e-3)


def test_all_or_nothing(sources, tmp_path, monkeypatch):
    source, span = sources('h264_b2_g12.mp4')
    broken, target = str(tmp_path / 'broken.mp4'), tmp_path / 'out' / 'a.mp4'
    odd_media.truncated_frames(broken)
    with pytest.raises(MediaError, match='broken.mp4'):
        encode(broken, str(target), Encoding())
    run = transcode._run

    def lose_frames(arguments, *others, **more):
        run([*arguments, '-frames:v', '5'], *others, **more)

    monkeypatch.setattr(transcode, '_run', lose_frames)
    with pytest.raises(MediaError, match='5 of its 26 frames'):
        encode(source, str(target), Encoding(), span)
    assert list((tmp_path / 'out').iterdir()) == []


def test_faults_of_the_source(tmp_path):
    path = str(tmp_path / 'a.mp4')
    odd_media.no_audio(path)
    with pytest.raises(NoAudioError, match='a.mp4'):
        extract_audio(path, str(tmp_path / 'a.wav'))
    target = str(tmp_path / 'c.mp4')
    with pytest.raises(EmptyClipError, match='a.mp4.*holds no frame'):
        encode(path, target, Encoding(), (50.0, 51.0))
    joined = make(tmp_path / 'joined.ts', CELLS['mpeg2.ts'], COUNT)
    joined.write_bytes(2 * joined.read_bytes())
    with pytest.raises(MediaError, match='joined.ts.*clock starts again'):
        encode(str(joined), target, Encoding())
    raw = make(tmp_path / 'a.h264', CELLS['h264_b2_g12.mp4'], COUNT, None)
    with pytest.raises(MediaError, match='a.h264.*Cut it without --copy'):
        copy_span(str(raw), str(tmp_path / 'new.mkv'), (1.0, 2.0))


@pytest.mark.parametrize('how', [[], ['--copy']])
def test_the_tool_that_trims(sources, tmp_path, capsys, how):
    source, span = sources('h264_b2_g12.ts')
    odd_media.truncated(tmp_path / 'bad.mp4')
    ann_file, out = tmp_path / 'train.csv', tmp_path / 'clips'
    # A blank line and an empty row, as spreadsheet programs leave them; the
    # video has an absolute path, as in the annotation files of the benchmarks.
    ann_file.write_text(
        f'\nfile ,start,end,label,note\n{source},{span[0]},{span[1]},3,one\n'
        f',,,,\n{tmp_path / "bad.mp4"},0,1,4,two\n'
    )
    command = [str(ann_file), str(out), '--workers', '2', *how]
    assert trim_clips.main(command) == 1
    said = capsys.readouterr()
    assert 'bad.mp4' in said.err and '1 of 2 rows are left out' in said.out
    (row,) = read_annotations(str(out / 'train.csv'), {})
    assert (out / row['file']).resolve().is_relative_to(out)
    inside = row['start'], row['end']
    assert (inside == (None, None)) == (not how)
    numbers, _ = shown(out / row['file'], inside)
    assert numbers == list(range(FIRST, STOP))
    with open(out / 'train.csv', newline='') as file:
        assert [r['note'] for r in csv.DictReader(file)] == ['one']
    text = (out / 'train.csv').read_text()
    trim_clips.main(command)
    assert '0 made, 1 there before, 1 failed' in capsys.readouterr().out
    assert (out / 'train.csv').read_text() == text


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ('a.mp4,,,0\n', 'no spans'),
        ('a.mp4,0,1,0\na.mkv,0,1,1\n', "lines 2 and 3.*'a_0_1000.mp4'"),
        ('/a/b.mp4,0,1,0\n../a/b.mp4,0,1,0\n', "'a/b_0_1000.mp4'"),
    ],
)
def test_clips_that_cannot_be_told_apart(tmp_path, rows, message):
    ann_file = tmp_path / 'train.csv'
    ann_file.write_text('file,start,end,label\n' + rows)
    with pytest.raises(UsageError, match=message):
        trim_clips.main([str(ann_file), str(tmp_path / 'clips')])
    with pytest.raises(UsageError, match='another folder'):
        trim_clips.main([str(ann_file), str(tmp_path)])


def test_the_tools_for_folders(tmp_path, capsys):
    videos = tmp_path / 'videos' / 'deep'
    videos.mkdir(parents=True)
    odd_media.silent(videos / 'good.mp4')
    odd_media.truncated(videos / 'bad.mov')
    (videos / '._good.mp4').touch()  # as macOS leaves it
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'up').symlink_to(videos.parent)
    odd_media.silent(tmp_path / 'elsewhere' / 'far.mp4')
    (videos.parent / 'linked').symlink_to(tmp_path / 'elsewhere')
    for tool, ext in ((resize_videos, 'mp4'), (audio_tool, 'wav')):
        out = tmp_path / ext
        command = [str(tmp_path / 'videos'), str(out), '--workers', '2']
        assert tool.main(command) == 1
        text = capsys.readouterr()
        assert '2 made, 0 there before, 1 failed' in text.out
        assert (out / 'linked' / f'far.{ext}').is_file()
        assert 'bad.mov' in text.err
        assert [p.name for p in (out / 'deep').iterdir()] == [f'good.{ext}']
    root = tmp_path / 'videos'
    for _ in range(2):  # what the first run made is no video of the second
        assert resize_videos.main([str(root), str(root / 'small')]) == 1
        made = sorted(p.name for p in (root / 'small').rglob('*.mp4'))
        assert made == ['far.mp4', 'good.mp4']
    for folders, message in (
        ((root, root), 'replaced by itself'),
        ((tmp_path / 'nowhere', 'x'), 'no video'),
    ):
        with pytest.raises(UsageError, match=message):
            resize_videos.main([*map(str, folders)])
    odd_media.silent(videos / 'bad.mp4')
    with pytest.raises(UsageError, match='rename one'):
        audio_tool.main([str(root), 'x'])
