# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files, folders, URLs, windows and cameras, one after the other."""

import functools
import os
import subprocess
import threading
import tracemalloc
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import media_names
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from media_names import InputError, fetch, find_jobs, find_media
from toy_recognizer import FPS, write_noise

from ca2st_mm import Recognizer
from ca2st_mm.apis import windows
from ca2st_mm.apis.prediction import Failure, Prediction
from ca2st_mm.apis.windows import Spans, extent_of, windows_of
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.video import frames_in_span

SECONDS = 7.5  # of the silent clip


class Handler(SimpleHTTPRequestHandler):
    with_length = True

    def send_header(self, keyword, value):
        if self.with_length or keyword != 'Content-Length':
            super().send_header(keyword, value)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def url(tmp_path):
    """Where the files of the folder are served."""
    handler = functools.partial(Handler, directory=str(tmp_path))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    interval = dict(poll_interval=0.01)
    threading.Thread(target=server.serve_forever, kwargs=interval).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Where fetched files go."""
    folder = tmp_path / 'fetched'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    return folder


def test_names_are_files_and_folders_and_a_wrong_one_stops_none(tmp_path):
    for folder in ('full/sub', 'empty'):
        (tmp_path / folder).mkdir(parents=True)
    # macOS leaves files like ._b.mp4 on other disks.
    for name in ('b.mp4', 'sub/a.MKV', 'notes.txt', '._b.mp4', '.t/c.mp4'):
        path = tmp_path / 'full' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'd.mp4').write_bytes(b'')
    (tmp_path / 'full' / 'linked').symlink_to(tmp_path / 'other')
    (tmp_path / 'other' / 'round').symlink_to(tmp_path / 'full')
    there = ('gone.mp4', 'empty', 'full', 'full/b.mp4')
    (tmp_path / 'full' / 'lost.mp4').symlink_to('nowhere')
    os.mkfifo(tmp_path / 'full' / 'pipe.mp4')
    names = [str(tmp_path / name) for name in there]
    gone, nothing, *found = find_jobs(find_media(names))
    assert isinstance(gone, Failure) and 'no such file' in gone.reason
    assert isinstance(nothing, Failure) and 'no video' in nothing.reason
    assert all(job.source == job.shown['source'] for job in found)
    files = [Path(job.source).name for job in found]
    # A folder's by name.
    assert files == ['b.mp4', 'd.mp4', 'a.MKV', 'b.mp4']


def test_a_url_is_fetched_when_its_turn_comes(url, tmp_path, fetched):
    for name in ('a.mp4', 'b.mp4'):
        (tmp_path / name).write_bytes(name.encode())
    urls = [f'{url}/a.mp4?token=1', f'{url}/b.mp4']
    jobs = find_jobs(find_media(urls))
    for name, content in zip(urls, (b'a.mp4', b'b.mp4'), strict=True):
        job = next(jobs)
        assert job.shown['source'] == name and job.source.endswith('.mp4')
        assert list(fetched.rglob('*.mp4')) == [Path(job.source)]
        assert Path(job.source).read_bytes() == content


def test_windows_open_a_file_when_its_turn_comes(clips, monkeypatch):
    opened = []

    def watched(path, *args):
        opened.append(path)
        return windows_of(path, *args)

    monkeypatch.setattr(media_names, 'windows_of', watched)
    next(find_jobs(find_media(clips[:3]), window=60))
    assert opened == clips[:1]


def test_fetched_clips_are_predicted_in_batches(
    url, recognizer, clips, tmp_path, fetched
):
    for name, path in zip('ab', clips, strict=False):
        (tmp_path / f'{name}.mp4').write_bytes(Path(path).read_bytes())
    urls = [f'{url}/{name}.mp4' for name in 'axb']
    jobs = find_jobs(find_media(urls))
    found = list(recognizer.predict_each(jobs, batch_size=2))
    assert [answer.source for answer in found] == urls
    kinds = [type(answer) for answer in found]
    assert kinds == [Prediction, Failure, Prediction]
    assert os.listdir(fetched) == []


@pytest.mark.parametrize('with_length', [True, False])
def test_a_file_that_is_too_large_is_refused(
    url, tmp_path, fetched, monkeypatch, with_length
):
    monkeypatch.setattr(Handler, 'with_length', with_length)
    (tmp_path / 'a.mp4').write_bytes(bytes(3000))
    with pytest.raises(InputError, match='larger than'):
        fetch(f'{url}/a.mp4', str(fetched), max_bytes=2999)
    assert fetch(f'{url}/a.mp4', str(fetched), max_bytes=3000)


def test_urls_that_fail_say_why(url, fetched, monkeypatch):
    monkeypatch.setattr(media_names, '_TIMEOUT', (60, 60))
    names = [f'{url}/gone.mp4', 'http://127.0.0.1:9/a.mp4', 'http://']
    reasons = [answer.reason for answer in find_jobs(find_media(names))]
    assert '404' in reasons[0]
    assert all('cannot be fetched' in reason for reason in reasons[1:])
    assert os.listdir(fetched) == []


@pytest.mark.parametrize(
    'window, stride, expected',
    [
        (3, 3, [(0, 3), (3, 6), (6, 7.5)]),
        (3, 1.5, [(0, 3), (1.5, 4.5), (3, 6), (4.5, 7.5)]),
        (2, 5, [(0, 2), (5, 7)]),
        (3, 5, [(0, 3), (5, 7.5)]),
        (7.5, 1, [(0, 7.5)]),
        # No frame begins in the 0.03 s that are left.
        (2.49, 2.49, [(0, 2.49), (2.49, 4.98), (4.98, 7.47)]),
        (100, 100, [(0, 7.5)]),
    ],
)
def test_windows_cover_the_file(silent, window, stride, expected):
    found = list(windows_of(silent, window, stride))
    assert len(found) == len(expected)
    spans = [(job.shown['start'], job.shown['end']) for job in found]
    np.testing.assert_allclose(spans, expected)
    first, *_, last = [*found, *found]  # one may be both
    assert first.start is None  # open towards the file's ends
    assert (last.end is None) == (expected[-1][1] > SECONDS - 1 / FPS)


def test_files_and_lengths_that_cannot_be_are_named(
    broken, silent, monkeypatch
):
    for lengths in ((0, 1), (1, 0), (-1, 1)):
        with pytest.raises(ValueError, match='above 0'):
            windows_of(silent, *lengths)
    with pytest.raises(MediaError, match=r'broken\.mp4'):
        windows_of(broken, 1, 1)
    absurd = windows.Extent(0.0, 1e12, 0.04)
    monkeypatch.setattr(windows, 'extent_of', lambda path: absurd)
    with pytest.raises(MediaError, match='said to last 1e[+]12 s'):
        windows_of(silent, 2, 2)


def test_windows_of_a_long_file_are_made_one_by_one(silent, monkeypatch):
    long = windows.Extent(0.0, float(windows.MAX_WINDOWS), 1.0)
    monkeypatch.setattr(windows, 'extent_of', lambda path: long)
    assert next(windows_of(silent, 1, 1)).end == 1


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'avi', 'flv'])
def test_the_extent_is_that_of_the_frames(tmp_path, suffix):
    path = str(tmp_path / f'a.{suffix}')
    write_noise(path, 3, rate=8000)
    start = 0.25 if suffix == 'flv' else 0  # flv has no edit lists
    expected = pytest.approx((start, start + 3, 1 / FPS), abs=0.01)
    assert extent_of(path) == expected


def test_the_extent_of_a_short_file_that_starts_late_is_found(tmp_path):
    """FFmpeg finds nothing that lies before the start of an FLV."""
    write_noise(str(tmp_path / 'a.mkv'), 3, rate=22050)
    ffmpeg, options = get_ffmpeg_exe(), ('-c:v', 'flv1', '-c:a', 'mp3')
    command = [ffmpeg, '-v', 'error', '-i', tmp_path / 'a.mkv', *options]
    subprocess.run([*command, tmp_path / 'a.flv'], check=True)
    start, end, _ = extent_of(str(tmp_path / 'a.flv'))
    assert 0 < start < 0.1 and end - start == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize('rate', [5, 10, 12.5])
@pytest.mark.parametrize('window, stride', [(0.97, 0.97), (1, 0.3), (0.4, 1)])
def test_no_window_lacks_a_new_frame_and_none_is_left_out(
    rate, window, stride
):
    spans = Spans(1.4, window, stride)
    for count in range(1, 60):
        stamps = 1.4 + np.arange(count) / rate
        shown, seen = [], 0
        for number in range(spans.count(stamps[-1])):
            start, end = spans.at(number)
            if spans.is_open(number, stamps[-1]):
                end = None
            low, high = frames_in_span(stamps, (start, end))
            assert high > max(low, seen)
            shown, seen = [*shown, *range(low, high)], high
        # A frame is missing at the end only where windows leave gaps.
        rest = stamps[-1] - spans.at(number)[1]
        assert shown[-1] == count - 1 or -1e-9 <= rest < stride - window + 1e-9


def test_a_window_that_fails_stops_none(recognizer, tmp_path):
    path = str(tmp_path / 'late.mp4')
    write_noise(path, 6, rate=8000)
    jobs = list(windows_of(path, 2, 2))
    jobs[1] = jobs[1]._replace(source=str(tmp_path / 'gone.mp4'))
    found = list(recognizer.predict_each(jobs, batch_size=2))
    [failure] = [one for one in found if isinstance(one, Failure)]
    assert (failure.source, failure.start) == (path, 2)
    assert 'gone.mp4' in failure.reason
    assert sorted(one.start for one in found) == [0, 2, 4]


def test_bad_files_take_no_places_in_a_batch(
    recognizer, clips, broken, monkeypatch
):
    sizes = []

    def forward(self, samples, *options):
        sizes.append(len(samples))
        return whole(self, samples, *options)

    whole = Recognizer.forward
    monkeypatch.setattr(Recognizer, 'forward', forward)
    sources = [broken, clips[0], broken, clips[1], broken, clips[2]]
    found = recognizer.predict(sources, batch_size=2, errors='return')
    assert [answer.source for answer in found] == sources
    assert sizes == [2, 1]
    jobs = find_jobs(find_media([broken, *sources]))
    first = next(recognizer.predict_each(jobs, batch_size=2))
    assert isinstance(first, Failure) and sizes == [2, 1]  # at once
    with pytest.raises(ValueError, match='batch_size.*at least 1.*0'):
        recognizer.predict(clips[0], batch_size=0)


def test_memory_does_not_grow_with_the_file(recognizer, clip, tmp_path):
    recognizer.predict(clip, start=0, end=1)  # what is loaded once

    def peak_of(seconds):
        path = str(tmp_path / f'{seconds}.mp4')
        frames = np.zeros((seconds, 32, 32, 3), np.uint8)
        write_clip(path, frames, 1, np.zeros(8000 * seconds), 8000)
        tracemalloc.start()
        for answer in recognizer.predict_each(windows_of(path, 10, 10)):
            assert answer.source == path
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_of(90) < 1.2 * peak_of(30)
