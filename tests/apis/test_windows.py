# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows over files and cameras: the same ones, in flat memory."""

import tracemalloc

import numpy as np
import pytest
from toy_recognizer import FPS, write_noise

from ca2st_mm.apis import windows
from ca2st_mm.apis.many_files import predict_each
from ca2st_mm.apis.prediction import Failure
from ca2st_mm.apis.windows import Windows, camera_jobs, extent_of
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.media_writer import write_clip

SECONDS = 7.5  # of the silent clip


def spans(jobs):
    return [(job.shown['start'], job.shown['end']) for job in jobs]


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
    found = Windows(silent, window, stride)
    assert len(found) == len(expected)
    np.testing.assert_allclose(spans(found), expected)
    first, *_, last = [*found, *found]
    assert first.start is None  # open towards the file's ends
    assert (last.end is None) == (expected[-1][1] > SECONDS - 1 / FPS)


@pytest.mark.parametrize('window, stride', [(0, 1), (1, 0), (-1, 1)])
def test_lengths_are_positive(silent, window, stride):
    with pytest.raises(ValueError, match='above 0'):
        Windows(silent, window, stride)
    with pytest.raises(ValueError, match='above 0'):
        next(camera_jobs(f'camera:{silent}', window, stride))


def test_an_absurd_length_is_refused(silent, monkeypatch):
    monkeypatch.setattr(
        windows, 'extent_of', lambda path: windows.Extent(0.0, 1e12, 0.04)
    )
    with pytest.raises(MediaError, match='said to last 1e[+]12 s'):
        Windows(silent, 2, 2)


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'avi'])
def test_the_extent_is_that_of_the_frames(tmp_path, suffix):
    path = str(tmp_path / f'a.{suffix}')
    write_noise(path, 3, rate=8000)
    extent = extent_of(path)
    assert extent.start == pytest.approx(0, abs=0.01)
    assert extent.end == pytest.approx(3, abs=0.01)
    assert extent.tick == pytest.approx(1 / FPS, abs=0.01)


def test_a_file_that_is_no_video_is_named(broken):
    with pytest.raises(MediaError, match=r'broken\.mp4'):
        Windows(broken, 1, 1)
    with pytest.raises(MediaError, match=r'camera:.*broken\.mp4'):
        next(camera_jobs(f'camera:{broken}', 1, 1))
    with pytest.raises(MediaError, match='webcam:99'):
        next(camera_jobs('webcam:99', 1, 1))


@pytest.mark.parametrize('window, stride', [(3, 1.5), (2, 5), (100, 1)])
def test_a_replayed_camera_sees_what_windows_see(
    recognizers, silent, window, stride
):
    cast = recognizers['cast']
    ways = (
        Windows(silent, window, stride),
        camera_jobs(f'camera:{silent}', window, stride),
    )
    of_file, of_camera = (list(predict_each(cast, jobs)) for jobs in ways)
    for a, b in zip(of_file, of_camera, strict=True):
        assert (a.start, a.end) == pytest.approx((b.start, b.end))
        np.testing.assert_allclose(a.views.seconds, b.views.seconds)
        np.testing.assert_allclose(
            a.logits['label'], b.logits['label'], atol=1e-5
        )


def test_a_window_that_fails_stops_none(recognizer, tmp_path):
    path = str(tmp_path / 'late.mp4')
    write_noise(path, 6, rate=8000)
    jobs = list(Windows(path, 2, 2))
    jobs[1] = jobs[1]._replace(source=str(tmp_path / 'gone.mp4'))
    first, second, third = sorted(
        predict_each(recognizer, jobs, batch_size=2), key=lambda a: a.start
    )
    assert isinstance(second, Failure)
    assert (second.source, second.start) == (path, 2)
    assert 'gone.mp4' in second.reason
    assert not isinstance(first, Failure) and not isinstance(third, Failure)


@pytest.fixture
def peak_of(recognizer, clip, tmp_path):
    """Peak of Python's memory while a file is predicted, in bytes."""
    recognizer.predict(clip, start=0, end=1)  # what is loaded once

    def measure(seconds):
        path = str(tmp_path / f'{seconds}.mp4')
        frames = np.zeros((seconds, 32, 32, 3), np.uint8)
        write_clip(path, frames, 1, np.zeros(8000 * seconds), 8000)
        tracemalloc.start()
        for answer in predict_each(recognizer, Windows(path, 30, 30)):
            assert answer.source == path
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    return measure


def test_memory_does_not_grow_with_the_file(peak_of):
    assert peak_of(300) < 1.2 * peak_of(60)
