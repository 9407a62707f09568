# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips out of long files: the right frames, and little reading."""

from types import SimpleNamespace

import numpy as np
import odd_media
import pytest
from test_readers import opened, psnr

from ca2st_mm.datasets.media_writer import write_clip
from ca2st_mm.datasets.readers.frame_index import index_frames, narrow
from ca2st_mm.datasets.transforms import DecodeVideo, OpenVideo, SegmentSample


@pytest.mark.parametrize('ext', ['mp4', 'mkv', 'avi'])
@pytest.mark.parametrize('start', [0.0, 0.4])
def test_a_span_holds_the_frames_of_the_whole(tmp_path, ext, start):
    if ext == 'avi' and start:
        pytest.skip('avi cannot store a late start')
    path = str(tmp_path / f'long.{ext}')
    frames = odd_media.pictures(300)  # two key frames
    write_clip(path, frames, 25, odd_media.tone(12), starts=(start, 0.0))
    rng = np.random.default_rng(1)
    with opened(path) as whole:
        starts = rng.uniform(0, 10, 8)
        ends = starts + rng.uniform(0.2, 2, 8)
        spans = [*zip(starts, ends, strict=True), (None, 3.0)]
        for span in [*spans, (11.0, None), (10.0, 11)]:
            low, high = narrow(whole.frame_stamps, span)
            with opened(path, span=span) as part:
                first, behind = narrow(part.frame_stamps, span)
                assert behind - first == high - low
                np.testing.assert_array_equal(
                    part.frame_stamps[first:behind],
                    whole.frame_stamps[low:high],
                )
                inds = rng.integers(0, high - low, 3)
                assert np.array_equal(
                    part.read(first + inds), whole.read(low + inds)
                )


def test_a_span_reads_a_part_of_the_packets(tmp_path):
    path = str(tmp_path / 'long.mp4')
    write_clip(path, odd_media.pictures(1000), 25)
    with opened(path, span=(30.1, 30.5)) as part:
        assert part.num_frames < 30 * 25
        assert part.frame_stamps[0] <= 30.1
        assert part.frame_stamps[-1] < 30.5


class CoarseContainer:
    """Seeks up to three seconds too far, as coarse indexes do."""

    format = SimpleNamespace(name='coarse')

    def __init__(self):
        self.at, self.read = 0, 0

    def seek(self, target, stream):
        self.at = target + 3 if target else 0

    def demux(self, stream):
        for second in range(self.at, 60):
            self.read += 1
            yield SimpleNamespace(
                pts=second, dts=second, is_keyframe=True, is_discard=False
            )


@pytest.mark.parametrize('start', [0.0, 2.0, 30.0])
def test_a_seek_that_lands_behind_its_target(start):
    container, stream = CoarseContainer(), SimpleNamespace(time_base=1)
    index = index_frames(container, stream, (start, start + 5))
    assert index.stamps[0] <= start
    low, high = narrow(index.stamps, (start, start + 5))
    assert index.stamps[low:high].tolist() == [start + i for i in range(5)]
    assert container.read < 30


def test_an_untrimmed_span_gives_the_frames_of_the_trimmed_clip(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (600, 4, 4, 3))
    frames = np.kron(frames, np.ones((1, 16, 16, 1))).astype(np.uint8)
    whole, cut = str(tmp_path / 'whole.mp4'), str(tmp_path / 'cut.mp4')
    write_clip(whole, frames, 25)
    write_clip(cut, frames[330:400], 25)
    sampler = SegmentSample(8, num_clips=2, test_mode=True)
    span = dict(clip_start=13.2, clip_end=16.0)
    long = sampler(OpenVideo()(dict(filename=whole, **span)))
    short = sampler(OpenVideo()(dict(filename=cut)))
    np.testing.assert_allclose(
        long['frame_stamps'][long['frame_inds']] - 13.2,
        short['frame_stamps'][short['frame_inds']],
        atol=1e-6,
    )
    pairs = zip(
        DecodeVideo()(long)['imgs'], DecodeVideo()(short)['imgs'], strict=True
    )
    assert min(psnr(a[None], b[None])[0] for a, b in pairs) > 35
