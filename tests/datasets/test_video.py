# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Frames: sampling, times, clip bounds, readers, damaged files."""

import gc
import multiprocessing
import os
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from mmaction.datasets.transforms import SampleFrames, ThreeCrop, UniformSample
from odd_media import FPS, numbered, tone

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    DenseSample,
    FrameTimes,
    LoadAudio,
    OpenShareOfVideo,
    OpenVideo,
    SegmentSample,
    ShortSideCrops,
)
from ca2st_mm.datasets.video import PyAVReader, VideoReader


def draw(transform, total, start=0):
    out = transform(dict(total_frames=total, start_index=start))
    return out['frame_inds'].reshape(-1, out['clip_len']).tolist()


@pytest.mark.parametrize('total', [16, 17, 31, 50, 333])
@pytest.mark.parametrize('rule', ['even', 'reference'])
def test_segments_random(total, rule):
    size = total / 16 if rule == 'even' else total // 16
    sampler, seen = SegmentSample(16, rule=rule), set()
    for _ in range(300):
        (inds,) = draw(sampler, total)
        for i, index in enumerate(inds):
            assert int(i * size) <= index < int((i + 1) * size)
        seen.update(inds)
    # Every frame can be drawn; by the reference's rule the rest cannot.
    reach = total if rule == 'even' else 16 * size
    assert max(seen) < reach
    assert len(seen) > 0.9 * reach


def test_views_of_a_test():
    tick = 100 / 16
    views = draw(SegmentSample(16, num_clips=2, test_mode=True), 100, 7)
    assert views[0] == [int(tick * i) + 7 for i in range(16)]  # starts
    assert views[1] == [int(tick / 2 + tick * i) + 7 for i in range(16)]
    views = draw(DenseSample(16, num_clips=5, test_mode=True), 300)
    assert views[0] == list(range(0, 64, 4))
    assert views[-1] == list(range(236, 300, 4))
    assert views[1][0] == 4 * int(1 * (75 - 16) / 4)
    for _ in range(20):  # and of training
        (inds,) = draw(DenseSample(16), 300)
        assert set(np.diff(inds)) <= {3, 4, 5}


def test_short_videos():
    (inds,) = draw(SegmentSample(16), 4)
    assert inds == [i // 4 for i in range(16)]
    assert draw(SegmentSample(16, rule='reference'), 4) == [[0] * 16]
    for test_mode in (False, True):
        sampler = DenseSample(16, test_mode=test_mode)
        for total in (1, 3, 20, 63, 64, 65):
            (inds,) = draw(sampler, total)
            assert len(inds) == 16
            assert 0 <= min(inds) and max(inds) < total


@pytest.mark.parametrize('portrait', [False, True])
def test_crops_are_those_of_the_authors(portrait):
    """340 x 256 becomes 297 x 224, not 298; crops begin at 0, 36 and 73."""
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (2, 256, 340, 3), np.uint8))
    if portrait:
        frames = [cv2.transpose(frame) for frame in frames]
        whole = [cv2.resize(frame, (224, 297)) for frame in frames]
        expected = [f[s : s + 224] for s in (0, 73, 36) for f in whole]
    else:
        whole = [cv2.resize(frame, (297, 224)) for frame in frames]
        expected = [f[:, s : s + 224] for s in (0, 73, 36) for f in whole]
    three = ShortSideCrops(224, num_crops=3)(dict(imgs=frames))
    np.testing.assert_array_equal(three['imgs'], expected)
    assert three['img_shape'] == (224, 224)
    one = ShortSideCrops(224)(dict(imgs=frames))
    np.testing.assert_array_equal(one['imgs'], expected[4:])


def test_a_share_of_a_video_is_counted_in_frames(tmp_path):
    """As the authors' code for ActivityNet; the file begins late."""
    path = str(tmp_path / 'late.mp4')
    frames = np.zeros((50, 32, 32, 3), np.uint8)
    write_clip(path, frames, 25, np.zeros(32000), starts=(0.4, 0.0))
    clip = dict(filename=path, clip_start=0.5, clip_end=1.5)
    out = OpenShareOfVideo()(sample := dict(clip))
    # The dataset closes it, whatever fails after this.
    assert sample['video_reader'] is out['video_reader']
    # From a quarter to three quarters of 49.
    assert (out['start_index'], out['total_frames']) == (12, 24)
    assert (out['clip_start'], out['clip_end']) == (0.5, 1.5)
    shown = OpenVideo()(dict(filename=path, clip_start=0.9, clip_end=1.9))
    assert shown['total_frames'] == 25
    beyond = OpenShareOfVideo()({**clip, 'clip_end': 9.0})
    assert beyond['total_frames'] == 49 - 12
    whole = OpenShareOfVideo()(dict(filename=path))
    assert (whole['start_index'], whole['total_frames']) == (0, 50)


@pytest.mark.parametrize(
    'sampler',
    [
        SegmentSample(8),
        SegmentSample(8, num_clips=2, test_mode=True),
        DenseSample(8, interval=2),
        UniformSample(clip_len=8),
        SampleFrames(clip_len=8, frame_interval=1, num_clips=1),
    ],
)
def test_every_sampler_stays_inside_the_clip(plain_clip, sampler):
    sample = dict(filename=plain_clip, clip_start=0.6, clip_end=1.2)
    out = OpenVideo()(sample)
    assert (out['start_index'], out['total_frames']) == (15, 15)
    out = sampler(out)
    times = FrameTimes()(dict(out))['imgs_times']
    assert times.min() >= 0.599 and times.max() < 1.2
    shifted = FrameTimes(origin='clip')(dict(out))
    np.testing.assert_allclose(shifted['imgs_times'], times - 0.6, atol=1e-5)
    assert shifted['time_origin'] == 0.6
    assert len(DecodeVideo()(out)['imgs']) == times.size


def test_a_recording_that_starts_late_has_the_times_of_one_that_does_not(
    tmp_path,
):
    frames, times = np.zeros((25, 32, 32, 3), np.uint8), []
    for start in (0.0, 90_000.0):
        path = str(tmp_path / f'{start:.0f}.ts')
        write_clip(path, frames, 25, starts=(start, start))
        out = OpenVideo()(dict(filename=path))
        out = SegmentSample(8, test_mode=True)(out)
        out = FrameTimes(origin='clip')(out)
        times.append(out['imgs_times'])
        assert out['time_origin'] == pytest.approx(start, abs=2)
    np.testing.assert_allclose(*times, atol=0.05)
    assert times[1].max() < 1


def test_crops_multiply_times():
    inds = np.arange(8)
    sample = dict(
        imgs=[np.zeros((8, 16, 3), np.uint8)] * 8,
        img_shape=(8, 16),
        num_clips=2,
        clip_len=4,
        frame_inds=inds,
        frame_times=inds / 10,
        modality='RGB',
    )
    out = FrameTimes()(ThreeCrop(8)(sample))
    assert out['imgs_times'].shape == (6, 4)
    np.testing.assert_allclose(
        out['imgs_times'][4], [0, 0.1, 0.2, 0.3], atol=1e-6
    )


def test_storage_without_paths_is_fetched(plain_clip, monkeypatch):
    asked = []

    def fetch(path):
        asked.append(path)
        return Path(plain_clip).read_bytes()

    monkeypatch.setattr('mmengine.fileio.get', fetch)
    monkeypatch.setattr('mmengine.fileio.LocalBackend.get', asked.append)
    sample = OpenVideo()(dict(filename='s3://bucket/a.mp4'))
    assert sample['total_frames'] == 50
    assert LoadAudio()(sample)['has_audio']
    assert asked == ['s3://bucket/a.mp4'] * 2
    asked.clear()
    frames = sample['video_reader'].read([3, 40, 7])
    local = OpenVideo()(dict(filename=plain_clip))['video_reader']
    np.testing.assert_array_equal(frames, local.read([3, 40, 7]))
    assert not asked  # a local file is not read into memory


def test_what_a_reader_refuses(plain_clip):
    with PyAVReader(plain_clip) as reader:
        for inds in ([-1], [0, 50]):
            with pytest.raises(IndexError, match='has 50'):
                reader.read(inds)
    reader.close()
    with pytest.raises(RuntimeError, match='is closed'):
        reader.read([0])


def read_in_child(reader, answers):
    try:
        reader.read([0])
    except RuntimeError as error:
        answers.put(str(error))


def test_a_reader_stays_in_its_process(plain_clip):
    with PyAVReader(plain_clip) as reader:
        fork = multiprocessing.get_context('fork')
        answers = fork.Queue()
        child = fork.Process(target=read_in_child, args=(reader, answers))
        child.start()
        assert 'inside the worker' in answers.get(timeout=120)
        child.join()
        assert reader.read([0]).shape == (1, 64, 64, 3)


@pytest.fixture
def garbage_stays(quick_garbage):
    """Nothing is freed by the garbage collector before the test ends."""
    gc.disable()
    yield
    gc.enable()


def num_threads():
    return len(os.listdir('/proc/self/task'))


def read_and_close(path):
    with PyAVReader(path, num_threads=4) as reader:
        reader.read([0, 30])


def read_and_drop(path):
    PyAVReader(path, num_threads=4).read([0, 30])


def read_without_us(path):
    """A user's own decoder, with threads in reference cycles."""
    container = av.open(path)
    container.streams.video[0].thread_type = 'AUTO'
    frame = next(container.decode(video=0))
    frame.to_ndarray(format='rgb24', threads=4)
    assert not frame.side_data.get('DISPLAYMATRIX')


@pytest.mark.skipif(sys.platform != 'linux', reason='counts in /proc')
@pytest.mark.parametrize('read', [read_and_close, read_and_drop])
def test_no_thread_outlives_a_reader(plain_clip, garbage_stays, read):
    before = num_threads()
    read(plain_clip)
    assert num_threads() == before


@pytest.mark.skipif(sys.platform == 'win32', reason='there is no fork')
@pytest.mark.parametrize(
    'read', [read_and_close, read_and_drop, read_without_us]
)
def test_a_forked_worker_may_collect_garbage(plain_clip, garbage_stays, read):
    # FFmpeg waits for ever for threads that a fork did not copy.
    read(plain_clip)
    child = multiprocessing.get_context('fork').Process(target=gc.collect)
    child.start()
    child.join(120)  # a busy machine is slow
    if child.is_alive():
        child.kill()
        child.join()
    assert child.exitcode == 0


def fail(wanted):
    raise ValueError('torn')


def test_decode_closes_the_reader(plain_clip):
    good = PyAVReader(plain_clip)
    torn = VideoReader('torn.mp4', 25, np.arange(8) / 25, decode=fail)
    sample = dict(frame_inds=np.array([0, 3]))
    done = DecodeVideo()(dict(sample, video_reader=good))
    assert done['video_reader'] is None
    with pytest.raises(MediaError, match='torn.mp4'):
        DecodeVideo()(dict(sample, video_reader=torn))
    for reader in (good, torn):
        with pytest.raises(RuntimeError, match='is closed'):
            reader.read([0])


def test_the_end_of_the_pipeline_closes_the_reader(plain_clip, tmp_path):
    (tmp_path / 'list.csv').write_text(f'file,label\n{plain_clip},0\n')
    seen = []

    def keep(results):
        seen.append(results['video_reader'])
        if len(seen) == 2:
            raise KeyError('a step that fails')
        return results

    data = AudioVisualDataset(
        str(tmp_path / 'list.csv'),
        [dict(type='OpenVideo'), keep],
        serialize_data=False,
    )
    data[0]
    with pytest.raises(KeyError):
        data[0]
    for reader in seen:
        with pytest.raises(RuntimeError, match='is closed'):
            reader.read([0])


def test_a_reader_that_is_not_installed_is_replaced(plain_clip, monkeypatch):
    lines = []
    monkeypatch.setitem(sys.modules, 'decord', None)
    monkeypatch.setattr('ca2st_mm.datasets.other_readers.warn', lines.append)
    assert OpenVideo(reader='decord').reader == 'pyav'
    assert 'pip install decord' in lines[0]


@pytest.mark.parametrize('inside', ['no packet', 'an audio packet'])
def test_a_file_cut_off_outside_its_frames_is_refused(tmp_path, inside):
    """FFmpeg reads it as a shorter one, without an error or a mark."""
    whole, cut = str(tmp_path / 'whole.mp4'), tmp_path / 'cut.mp4'
    write_clip(str(tmp_path / 'a.mp4'), numbered(), FPS, tone())
    with (
        av.open(str(tmp_path / 'a.mp4')) as source,
        av.open(whole, 'w', options=dict(movflags='faststart')) as target,
    ):
        copies = [target.add_stream_from_template(s) for s in source.streams]
        for packet in source.demux():
            if packet.size:  # else it is the end of a stream
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    with av.open(whole) as file:
        stream = file.streams.get(audio=0) if 'audio' in inside else []
        packets = list(file.demux(stream or file.streams.video))
    packet = packets[len(packets) // 2]
    size = packet.size if inside == 'no packet' else packet.size // 2
    cut.write_bytes(Path(whole).read_bytes()[: packet.pos + size])
    with PyAVReader(whole) as reader:
        assert len(reader.frame_times) == len(numbered())
    with pytest.raises(MediaError, match='cut.mp4.*it is cut off'):
        with PyAVReader(str(cut)) as reader:
            len(reader.frame_times)
    with pytest.raises(MediaError, match='the audio of.*it is cut off'):
        read_audio(str(cut), None, None)
