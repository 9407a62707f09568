# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Video readers: the same frames from each, by index and by time."""

import importlib.util
import multiprocessing
import pickle
from functools import cache
from pathlib import Path

import av
import numpy as np
import odd_media
import pytest
from mmengine.fileio import get

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.transforms import DecodeVideo, OpenVideo, SegmentSample
from ca2st_mm.datasets.video import (
    PyAVReader,
    Source,
    choose_reader,
    open_video,
)

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None,
            reason=f'{package} is not installed',
        ),
    )
    for name, package in dict(
        decord='decord', pyav='av', torchcodec='torchcodec'
    ).items()
]


def psnr(left, right):
    error = np.mean((left.astype(np.float64) - right) ** 2, axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


def opened(path, name='pyav', span=None):
    return open_video(Source(str(path)), choose_reader(name), 1, span)


@pytest.fixture(scope='module')
def odd_files(tmp_path_factory):
    """Readable files that invite mistakes."""
    folder = tmp_path_factory.mktemp('odd')
    for name in ('variable_rate', 'rotated', 'ten_bit', 'odd_size'):
        odd_media.FILES[name](folder / f'{name}.mp4')
    for ext in ('mkv', 'avi', 'webm'):
        codec = 'libvpx' if ext == 'webm' else 'libx264'
        path = folder / f'made.{ext}'
        odd_media.write_pictures(path, odd_media.pictures(), codec=codec)
    odd_media.without_rate(folder / 'recorded.mkv')
    return folder


@cache
def draws_and_truth(path):
    """Lists of indices, and their frames by decoding from the start."""
    rng = np.random.default_rng(0)
    with opened(path) as reader:
        count, stamps = reader.num_frames, reader.frame_stamps
    draws = [
        rng.integers(0, count, 12),
        [count - 5],  # decord loses its way after this one
        [count - 1, 0, 0, count // 2],
        [count // 2, count - 2],
    ]
    wanted = set(np.concatenate(draws).tolist())
    with av.open(str(path)) as container:
        truth = {
            number: np.rot90(
                frame.to_ndarray(format='rgb24'), frame.rotation // 90
            )
            for number, frame in enumerate(container.decode(video=0))
            if number in wanted
        }
    return stamps, draws, truth


def assert_frames_are_right(path, name):
    stamps, draws, truth = draws_and_truth(path)
    assert np.all(np.diff(stamps) > 0)
    with opened(path, name) as reader:
        assert reader.num_frames == len(stamps)
        np.testing.assert_allclose(reader.frame_stamps, stamps, atol=1e-6)
        for inds in draws:
            frames = reader.read(inds)
            assert frames.dtype == np.uint8 and len(frames) == len(inds)
            right = np.stack([truth[index] for index in inds])
            assert psnr(frames, right).min() > 35


@pytest.mark.parametrize('name', NAMES)
def test_readers_agree_on_real_clips(shared_file, name):
    clips = shared_file('clips')
    for path in sorted(clips.iterdir()):
        if 'corrupted' not in path.name:
            assert_frames_are_right(path, name)


@pytest.mark.parametrize('name', NAMES)
def test_readers_agree_on_odd_files(odd_files, name):
    for path in sorted(odd_files.iterdir()):
        assert_frames_are_right(path, name)


@pytest.mark.parametrize('name', NAMES)
def test_frames_are_the_ones_asked_for(odd_files, name):
    # The green block at the bottom says which frame it is.
    for path in sorted(odd_files.iterdir()):
        if path.stem == 'rotated':
            continue
        with opened(path, name) as reader:
            for index in (37, 3, 49, 0, 25):
                (frame,) = reader.read([index])
                width = frame.shape[1]
                row = frame[-6:-2].astype(int)
                green = (row[..., 1] - row[..., 0]).mean(axis=0)
                left = np.flatnonzero(green > green.max() / 2)[0]
                assert left == pytest.approx(index * (width - 8) // 49, abs=1)


def test_a_rotated_video_stands_upright(odd_files):
    with opened(odd_files / 'rotated.mp4') as reader:
        (frame,) = reader.read([0])
    assert frame.shape == (96, 64, 3)
    # Turned by 90 degrees against the clock, as players do.
    assert frame[-40:, 4:28].mean() > 200 and frame[:40, :28].mean() < 60


@pytest.mark.parametrize('name', NAMES)
def test_bytes_and_path_give_the_same(plain_clip, name):
    data = Path(plain_clip).read_bytes()
    with (
        opened(plain_clip, name) as by_path,
        open_video(Source('s3://a.mp4', data), choose_reader(name)) as other,
    ):
        inds = [3, 40, 7]
        assert np.array_equal(by_path.read(inds), other.read(inds))


def test_storage_without_paths_is_fetched(plain_clip, monkeypatch):
    class Bucket:
        def get(self, path):
            assert path == 's3://bucket/a.mp4'
            return get(plain_clip)

    monkeypatch.setattr(
        'ca2st_mm.datasets.transforms.video_loading.get_file_backend',
        lambda path, backend_args: Bucket(),
    )
    out = OpenVideo()(dict(filename='s3://bucket/a.mp4'))
    assert out['total_frames'] == 50


def test_a_local_file_is_not_read_into_memory(plain_clip, monkeypatch):
    def refuse(*args):
        raise AssertionError('the whole file was read')

    monkeypatch.setattr('mmengine.fileio.LocalBackend.get', refuse)
    assert OpenVideo()(dict(filename=plain_clip))['total_frames'] == 50


@pytest.mark.parametrize('name', NAMES)
def test_a_closed_reader_says_so(plain_clip, name):
    reader = opened(plain_clip, name)
    reader.close()
    reader.close()
    with pytest.raises(RuntimeError, match='is closed'):
        reader.read([0])


def read_in_child(reader, answers):
    try:
        reader.read([0])
    except RuntimeError as error:
        answers.put(str(error))


def test_a_reader_stays_in_its_process(plain_clip):
    with opened(plain_clip) as reader:
        with pytest.raises(TypeError, match='cannot be pickled'):
            pickle.dumps(reader)
        fork = multiprocessing.get_context('fork')
        answers = fork.Queue()
        child = fork.Process(target=read_in_child, args=(reader, answers))
        child.start()
        assert 'inside the worker' in answers.get(timeout=20)
        child.join()
        assert reader.read([0]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize('inds', [[-1], [0, 50]])
def test_an_index_out_of_range(plain_clip, inds):
    with opened(plain_clip) as reader:
        with pytest.raises(IndexError, match='has 50'):
            reader.read(inds)


def test_decode_closes_the_reader(plain_clip, tmp_path):
    out = SegmentSample(4)(OpenVideo(reader='pyav')(dict(filename=plain_clip)))
    reader = out['video_reader']
    out = DecodeVideo()(out)
    assert out['video_reader'] is None and isinstance(out['imgs'], list)
    path = str(tmp_path / 'broken.mp4')
    odd_media.truncated_pictures(path)
    out = SegmentSample(8)(OpenVideo(reader='pyav')(dict(filename=path)))
    with pytest.raises(MediaError):
        DecodeVideo()(out)
    for used in (reader, out['video_reader']):
        with pytest.raises(RuntimeError, match='is closed'):
            used.read([0])


def test_the_end_of_the_pipeline_closes_the_reader(plain_clip, tmp_path):
    (tmp_path / 'list.csv').write_text(f'file,label\n{plain_clip},0\n')
    seen = []

    def keep(results):
        seen.append(results['video_reader'])
        if len(seen) == 2:
            raise KeyError('a step that fails')
        return results

    data = AudioVisualDataset(
        str(tmp_path / 'list.csv'), [dict(type='OpenVideo'), keep]
    )
    data[0]
    with pytest.raises(KeyError):
        data[0]
    for reader in seen:
        with pytest.raises(RuntimeError, match='is closed'):
            reader.read([0])


def test_the_reader_of_another_transform():
    with pytest.raises(TypeError, match='OpenVideo'):
        DecodeVideo()(dict(video_reader=object(), frame_inds=[0]))


def test_choices(monkeypatch):
    with pytest.raises(ValueError, match='pyav'):
        OpenVideo(reader='cv2')
    assert choose_reader('auto') is choose_reader('decord')

    def absent(name):
        return None if name == 'pyav' else ImportError('no such package')

    monkeypatch.setattr('ca2st_mm.datasets.readers.choose._import', absent)
    choose_reader.cache_clear()
    assert choose_reader('auto') is PyAVReader
    with pytest.raises(ImportError, match='pip install decord.*pyav'):
        choose_reader('decord')
    choose_reader.cache_clear()


def test_the_log_names_the_reader_once(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'ca2st_mm.datasets.readers.choose.print_log',
        lambda text, logger: lines.append(text),
    )
    choose_reader.cache_clear()
    for _ in range(3):
        OpenVideo(reader='pyav')
    assert len(lines) == 1 and 'pyav' in lines[0]


def resident_megabytes():
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(
    not Path('/proc/self/statm').exists(), reason='needs /proc (Linux)'
)
@pytest.mark.parametrize('name', NAMES)
def test_memory_does_not_grow(plain_clip, name):
    def cycle():
        out = OpenVideo(reader=name)(dict(filename=plain_clip))
        DecodeVideo()(SegmentSample(4)(out))

    for _ in range(30):
        cycle()
    before = resident_megabytes()
    for _ in range(200):
        cycle()
    # 50 MB in 2,000 cycles; tools/analysis/benchmark_readers.py does those
    assert resident_megabytes() - before < 5
