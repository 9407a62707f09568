# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames are those of a sequential decode, whichever way they are read."""

import gc
import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from numbered_media import (
    CELLS,
    FPS,
    HAND_MADE,
    HEIGHT,
    WIDTH,
    ffmpeg,
    make,
    number_of,
)

from ca2st_mm.datasets import other_readers, pixels
from ca2st_mm.datasets import video as video_module
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.containers import decode, probe
from ca2st_mm.datasets.faults import EmptyClipError, MediaError
from ca2st_mm.datasets.other_readers import READERS, open_video
from ca2st_mm.datasets.video import PyAVReader, frames_in_span

COUNT = 60
KEYS_EVERY_20 = ('-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-g', '20')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('grid')


@pytest.fixture(scope='module')
def base(folder):
    """100 frames in mkv, a key frame every 20."""
    return make(folder / 'base.mkv', KEYS_EVERY_20, 100)


def numbers(reader, inds=None):
    inds = np.arange(reader.num_frames) if inds is None else inds
    return [number_of(frame) for frame in reader.read(inds)]


def shown_in(path, span):
    """Numbers and times of the frames of a part that is opened alone."""
    with PyAVReader(str(path), span=span) as video:
        first, stop = video.frames_in(span)
        shown = numbers(video, range(first, stop))
        return shown, video.frame_times[first:stop]


def around(stamps, low, stop):
    """A span that holds just these frames."""
    return stamps[low] - 0.5 / FPS, stamps[stop - 1] + 0.5 / FPS


def shown_by_ffmpeg(path):
    """Numbers of all frames, by FFmpeg's program."""
    done = subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'quiet', '-i', path),
            *('-fps_mode', 'passthrough', '-f', 'rawvideo'),
            *('-vf', f'scale={WIDTH}:{HEIGHT}', '-pix_fmt', 'rgb24', '-'),
        ],
        capture_output=True,
        check=True,
    )
    frames = np.frombuffer(done.stdout, np.uint8)
    return [number_of(f) for f in frames.reshape(-1, HEIGHT, WIDTH, 3)]


@pytest.mark.parametrize('name', [*CELLS, *HAND_MADE])
def test_grid(folder, name):
    path = str(make(folder / name, CELLS.get(name, ())))
    anywhere = np.random.default_rng(0).integers(0, COUNT, 8)
    with PyAVReader(path) as video:
        stamps = video.frame_times
        assert video.num_frames == COUNT
        steps = np.diff(stamps)
        if path.endswith('.avi'):  # FFmpeg leaves slots of avi empty
            assert steps.min() > 0
        else:
            np.testing.assert_allclose(steps, 1 / FPS, atol=2e-3)
    for reader in READERS:
        with open_video(path, reader) as video:
            if reader != 'pyav' and isinstance(video, PyAVReader):
                continue  # this was checked first
            assert np.array_equal(video.frame_times, stamps)
            for inds in (range(COUNT), anywhere, [COUNT - 1, 0], [31]):
                assert numbers(video, inds) == list(inds), reader
    for low, high in ((0, 20), (13, 40), (24, 25), (44, 60)):
        shown, part = shown_in(path, around(stamps, low, high))
        np.testing.assert_allclose(part, stamps[low:high], atol=1e-3)
        assert shown == list(range(low, high))


def cut_by_copying(base, path):
    """Frames before the zero of the clock, or hidden by an edit list."""
    keep = ('-c', 'copy', '-avoid_negative_ts', 'disabled')
    ffmpeg('-ss', '1.1', '-i', base, *keep, path)


def cut_anywhere(base, path):
    """As a recording begins that was switched on in mid-stream."""
    ffmpeg('-i', base, '-c', 'copy', path)
    packets = path.read_bytes()
    path.write_bytes(packets[len(packets) // 188 // 3 * 188 :])


def joined(base, path):
    """The clock jumps back."""
    ffmpeg('-i', base, '-c', 'copy', path)
    path.write_bytes(2 * path.read_bytes())


def joined_late(base, path):
    """With packets between that say nothing, as television stations send."""
    more = path.with_name('more.ts')
    ffmpeg('-i', base, path)
    ffmpeg('-ss', 1, '-i', base, more)
    nothing = (b'\x47\x1f\xff\x10' + bytes(184)) * 360_000
    path.write_bytes(path.read_bytes() + nothing + more.read_bytes())


def below_zero(base, path, *options):
    keep = ('-c', 'copy', '-avoid_negative_ts', 'disabled', *options)
    ffmpeg('-itsoffset', '-1', '-i', base, *keep, path)


def below_zero_without_audio(base, path):
    below_zero(base, path, '-an')


def uneven(base, path):
    jitter = "settb=1/1000,setpts='40*N+12*mod(N,3)'"
    ffmpeg('-i', base, *('-vf', jitter), *('-enc_time_base', '1/1000'), path)


def misdated(base, path):
    """Times of decoding stand in place of those of showing."""
    ffmpeg('-i', base, '-c', 'copy', '-an', '-bsf:v', 'setts=pts=DTS', path)


def starts_late(base, path):
    late = ('-c', 'copy', '-output_ts_offset', '100')
    ffmpeg('-i', base, *late, path)


def hidden_references(base, path):
    """VP8 in two passes: packets that are never shown."""
    log = path.with_name('passes')
    vp8 = ('-c:v', 'libvpx', '-b:v', '200k', '-auto-alt-ref', '1', '-an')
    for number in (1, 2):
        passes = ('-pass', number, '-passlogfile', log, '-lag-in-frames', '16')
        ffmpeg('-i', base, *vp8, *passes, path)


@pytest.mark.parametrize(
    ('change', 'extension'),
    [
        *((cut_by_copying, ext) for ext in ('mkv', 'mp4', 'mov', 'ts')),
        *((starts_late, ext) for ext in ('mkv', 'mp4', 'ts')),
        *((cut_anywhere, 'ts'), (joined, 'ts'), (hidden_references, 'webm')),
        *((joined_late, 'ts'), (below_zero, 'mkv')),
        (below_zero_without_audio, 'mkv'),
        *((uneven, 'mp4'), (uneven, 'mkv')),
        *((misdated, 'mp4'), (misdated, 'mkv')),
    ],
)
def test_odd_clocks(base, tmp_path, change, extension):
    path = tmp_path / f'odd.{extension}'
    change(base, path)
    truth = shown_by_ffmpeg(path)
    assert len(truth) > 40
    with PyAVReader(str(path)) as whole:
        stamps = whole.frame_times
        assert numbers(whole) == truth
        assert len(stamps) == len(truth)
    assert np.diff(stamps).min() > 0
    if 'below' in change.__name__:
        with PyAVReader(str(base)) as moved:
            true = moved.frame_times - 1
        np.testing.assert_allclose(stamps, true, atol=2e-3)
    end = len(stamps)
    for low, stop in ((0, 10), (21, 40), (20, 30), (end - 25, end - 15)):
        first = stamps[max(low - 1, 0)] - (low == 0)
        span = (first + stamps[low]) / 2, (stamps[stop - 1] + stamps[stop]) / 2
        shown, part = shown_in(path, span)
        assert shown == truth[low:stop]
        np.testing.assert_allclose(part, stamps[low:stop], atol=2e-3)


@pytest.mark.parametrize('lost', [(0.3, 0.45), (0.42, 0.6), (0.55, 0.6)])
def test_lost_packets(base, tmp_path, lost):
    """Times are FFmpeg's, also where a recording misses packets."""
    whole, path = tmp_path / 'whole.ts', tmp_path / 'lost.ts'
    ffmpeg('-i', base, '-c', 'copy', '-an', whole)
    data, packet = whole.read_bytes(), 188
    first, stop = (int(len(data) / packet * part) for part in lost)
    path.write_bytes(data[: first * packet] + data[stop * packet :])
    log = tmp_path / 'times.txt'
    options = ('-fps_mode', 'passthrough', '-enc_time_base', '1:90000')
    ffmpeg('-copyts', '-i', path, *options, '-f', 'framecrc', log)
    rows = [r for r in log.read_text().splitlines() if not r.startswith('#')]
    true = [int(row.split(',')[2]) / 90000 for row in rows]
    with PyAVReader(str(path)) as video:
        np.testing.assert_allclose(video.frame_times, true, atol=1e-4)
        shown = numbers(video)
    hole = int(np.diff(true).argmax())
    assert true[hole + 1] - true[hole] > 0.1
    for near in (hole - 5, hole, hole + 3):
        span = true[near] + 0.01, true[near] + 0.51
        low, high = frames_in_span(np.array(true), span)
        if low < high:
            assert shown_in(path, span)[0] == shown[low:high]
        else:
            with pytest.raises(EmptyClipError, match='lost.ts.*no frame'):
                shown_in(path, span)


@pytest.mark.parametrize('name', READERS)
def test_plain_files_are_decoded_by_the_reader_that_was_asked(base, name):
    plain = make(base.with_name('plain.mp4'), CELLS['h264_b2_g12.mp4'])
    if name == 'torchcodec':
        decoders = pytest.importorskip('torchcodec.decoders')
        try:
            decoders.VideoDecoder(str(plain))
        except RuntimeError:
            pytest.skip("FFmpeg's libraries are not there for torchcodec")
    for path, is_plain in ((plain, True), (base, False)):
        with open_video(str(path), name) as video:
            is_pyav = isinstance(video, PyAVReader)
        assert is_pyav == (name == 'pyav' or not is_plain)


def test_other_counts_are_an_alarm(base, monkeypatch):
    plain = make(base.with_name('plain.mp4'), CELLS['h264_b2_g12.mp4'])
    lines = []
    wrong = dict(decord=lambda *_: (59, None))
    monkeypatch.setattr(other_readers, '_DECODERS', wrong)
    monkeypatch.setattr(other_readers, 'warn', lines.append)
    with open_video(str(plain), 'decord') as video:
        assert isinstance(video, PyAVReader) and video.num_frames == COUNT
    assert 'plain.mp4' in lines[0] and '59 frames, not 60' in lines[0]


@pytest.mark.parametrize('lost', [False, True])
def test_frames_that_no_other_needs_are_not_decoded(base, monkeypatch, lost):
    """Where the wanted one does not come so, all are."""
    seen = []

    def watched(container, stream, strict, needed=None):
        for packet, frames in decode(container, stream, strict, needed):
            seen.extend(frames)
            if lost and needed is not None:
                frames = [f for f in frames if f.key_frame]
            yield packet, frames

    monkeypatch.setattr(video_module, 'decode', watched)
    with PyAVReader(str(base)) as video:
        seen.clear()
        assert numbers(video, [18]) == [18]  # after the key frame 0
    assert len(seen) > 19 if lost else 1 < len(seen) < 15


def test_a_span_reads_a_part_of_the_file(base):
    with PyAVReader(str(base), span=(2.5, 3.0)) as video:
        assert 2.0 <= video.frame_times[0] <= 2.5
        assert video.frame_times[-1] < 3.0
    with pytest.raises(EmptyClipError, match='base.mkv.*no frame.*clock'):
        PyAVReader(str(base), span=(-3.0, -2.0))


@pytest.mark.parametrize('turn', [0, 90, 180, 270])
@pytest.mark.parametrize(
    ('flip', 'ratio'), [((), '4/3'), (('-display_hflip',), '1')]
)
def test_frames_stand_as_players_show_them(base, tmp_path, turn, flip, ratio):
    made, path = tmp_path / 'made.mp4', tmp_path / 'turned.mp4'
    oblong = ('-vf', f'setsar={ratio}', '-frames:v', '12', '-crf', '10')
    ffmpeg('-i', base, *oblong, made)
    ffmpeg('-display_rotation', turn, *flip, '-i', made, '-c', 'copy', path)
    image = tmp_path / 'frame.png'
    # FFmpeg turns by itself; the ratio is turned with the frame.
    square = "scale='iw*max(sar,1)':'ih*max(1/sar,1)'"
    ffmpeg('-i', path, '-vf', square, '-frames:v', '1', image)
    with PyAVReader(str(path)) as video, PyAVReader(str(image)) as truth:
        shown, right = video.read([0])[0], truth.read([0])[0]
    assert abs(shown.shape[0] - right.shape[0]) <= 1
    assert abs(shown.shape[1] - right.shape[1]) <= 1
    height, width = np.minimum(shown.shape, right.shape)[:2]
    apart = shown[:height, :width].astype(int) - right[:height, :width]
    assert np.abs(apart).mean() < 4
    with PyAVReader(str(path), square_pixels=False) as video:
        assert video.read([0]).size == 3 * WIDTH * HEIGHT


def test_the_default_stream_is_read_and_no_cover(base, tmp_path):
    path, cover = tmp_path / 'two.mp4', tmp_path / 'cover.png'
    ffmpeg('-i', base, '-frames:v', '1', '-vf', 'scale=40:30', cover)
    grey = ('-f', 'lavfi', '-i', 'color=gray:s=64x64:r=10:d=4')
    maps = ('-map', '0', '-map', '1:v', '-map', '2:v', '-map', '2:v')
    ffmpeg(
        *(*grey, '-i', cover, '-i', base, *maps, '-c:v:1', 'png'),
        *('-disposition:v:0', '0', '-disposition:v:1', 'attached_pic'),
        *('-disposition:v:2', '0', '-disposition:v:3', 'default'),
        path,
    )
    info = probe(str(path))
    assert len(info.videos) == 3 and info.video.width == WIDTH
    assert shown_in(path, (None, None))[0] == list(range(100))
    assert shown_in(path, (1.0, 2.0))[0] == list(range(25, 50))


def turned_a_little(base, path):
    ffmpeg('-display_rotation', 45, '-i', base, '-c', 'copy', path)


def encrypted(base, path):
    key = '00112233445566778899aabbccddeeff'
    lock = ('-encryption_scheme', 'cenc-aes-ctr', '-encryption_key', key)
    ffmpeg('-i', base, *lock, '-encryption_kid', key, path)


def nameless(base, path):
    """What tells the size of the frames is lost."""
    ffmpeg('-i', base, '-c', 'copy', '-an', path)
    path.write_bytes(path.read_bytes().replace(b'\0\0\1\x67', b'\0\0\1\x6c'))


@pytest.mark.parametrize(
    ('change', 'extension', 'why'),
    [
        (turned_a_little, 'mp4', 'only right angles'),
        (encrypted, 'mp4', 'encrypted. Decrypt'),
        (nameless, 'ts', 'size .* unknown'),
    ],
)
def test_what_is_refused(base, tmp_path, change, extension, why):
    path = tmp_path / f'odd.{extension}'
    change(base, path)
    with pytest.raises(MediaError, match=f'odd.{extension}.*{why}'):
        with PyAVReader(str(path)) as video:
            video.read([0])
    if change is encrypted:
        with pytest.raises(MediaError, match='odd.mp4.*encrypted. Decrypt'):
            read_audio(str(path))


def test_large_frames_are_reduced_or_refused(base, monkeypatch, quick_garbage):
    monkeypatch.setattr(pixels, 'MAX_BYTES', 6 * HEIGHT * WIDTH)
    with PyAVReader(str(base)) as video:
        many = video.read(range(8))
        assert many.nbytes <= 6 * HEIGHT * WIDTH
        assert abs(many.shape[2] / many.shape[1] - WIDTH / HEIGHT) < 0.2
        assert video.read([3, 4]).shape[1:] == (HEIGHT, WIDTH, 3)
    monkeypatch.setattr(video_module, 'MAX_PIXELS', HEIGHT * WIDTH - 1)
    with pytest.raises(MediaError, match='base.mkv.*128 x 32.*limit'):
        PyAVReader(str(base))


def test_decoded_frames_are_freed(base, monkeypatch, quick_garbage):
    """Also those that wait for the garbage collector."""
    monkeypatch.setattr(pixels, 'MAX_BYTES', 30 * HEIGHT * WIDTH)
    gc.disable()
    try:
        with PyAVReader(str(base)) as video:
            video.read(range(100))
            held = [type(thing) for thing in gc.get_objects()]
            assert held.count(av.VideoFrame) < 30
    finally:
        gc.enable()


def test_the_size_may_change_inside_a_file(base, tmp_path):
    path, other = tmp_path / 'a.ts', tmp_path / 'b.ts'
    ffmpeg('-i', base, path)
    ffmpeg('-i', base, '-vf', 'scale=256:64', other)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with PyAVReader(str(path)) as video:
        assert video.num_frames >= 199  # one may be lost at the joint
        assert set(numbers(video)) == set(range(100))
        assert video.read([3, 150]).shape[1:] == (HEIGHT, WIDTH, 3)
