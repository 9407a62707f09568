# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Corruptions: the same form, more with strength, nothing at strength 0."""

from itertools import combinations

import numpy as np
import pytest

from ca2st_mm.datasets.toy import ToyWorld, draw_audio, draw_frames
from ca2st_mm.datasets.transforms import (
    CAUSES,
    AddAudioNoise,
    Corrupt,
    Desynchronise,
)

RATE = 16000


@pytest.fixture(scope='module')
def clip():
    """A toy clip of odd width, as a pipeline has it."""
    rng = np.random.default_rng(0)
    world = ToyWorld(size=64, num_frames=8)
    frames = draw_frames(7, world, rng)[:, :, :63]
    wave = draw_audio(7, world, rng)
    return dict(
        filename='a/clip.mp4',
        imgs=list(frames),
        waveform=wave,
        sample_rate=RATE,
        has_audio=True,
    )


def distances(before, after):
    """Mean squared change of the frames, and of the waveform."""
    imgs = np.stack(after['imgs']) - np.stack(before['imgs']).astype(float)
    wave = after['waveform'] - before['waveform']
    return np.mean(imgs**2), np.mean(wave**2)


@pytest.mark.parametrize('cause', CAUSES)
def test_a_corruption_keeps_the_form_and_grows(clip, cause):
    kept = {k: np.copy(v) for k, v in clip.items()}
    rows = []
    for strength in range(6):
        step = Corrupt(cause, strength, seed=1)
        after, again = step(dict(clip)), step(dict(clip))
        assert len(after['imgs']) == len(clip['imgs'])
        for frame, same in zip(after['imgs'], again['imgs'], strict=True):
            assert frame.dtype == np.uint8 and frame.shape == (64, 63, 3)
            np.testing.assert_array_equal(frame, same)
        wave = after['waveform']
        assert wave.dtype == np.float32 and np.isfinite(wave).all()
        assert wave.shape == clip['waveform'].shape
        np.testing.assert_array_equal(wave, again['waveform'])
        rows.append(distances(clip, after))
    for modality in (0, 1):
        changes = [row[modality] for row in rows]
        assert changes[0] == 0 and changes[1] > 0
        assert changes[3] > changes[1] and changes[5] > changes[3]
    for key, value in kept.items():  # where no frame is lost
        np.testing.assert_array_equal(clip[key], value)


@pytest.mark.parametrize('cause', CAUSES)
def test_one_modality_alone_and_clips_that_lack_the_other(clip, cause):
    both = Corrupt(cause, 4)(dict(clip))
    video, audio = (
        Corrupt(cause, 4, modalities=[name])(dict(clip))
        for name in ('video', 'audio')
    )
    assert distances(clip, video)[1] == distances(clip, audio)[0] == 0
    assert distances(both, video)[0] == distances(both, audio)[1] == 0
    other = Corrupt(cause, 4)(dict(clip, filename='b.mp4'))
    drawn = cause not in ('compression',)  # where nothing is drawn
    assert (distances(other, both)[1] > 0) == drawn
    silent = dict(clip, has_audio=False, waveform=np.zeros(99, np.float32))
    assert not Corrupt(cause, 5)(silent)['waveform'].any()
    only = {k: clip[k] for k in ('filename', 'imgs')}
    np.testing.assert_array_equal(
        Corrupt(cause, 4)(dict(only))['imgs'], both['imgs']
    )


@pytest.mark.parametrize('cause', ['packet_loss', 'compression', 'rain'])
def test_each_view_is_a_video_of_its_own(clip, cause):
    first = [frame[:48] for frame in clip['imgs']]
    second = [255 - frame for frame in first]
    crops = [first, second, second, first]  # two of two clips each
    step = Corrupt(cause, 4, modalities=['video'])
    name = dict(filename='clip.mp4', clip_len=8)
    alone = step(dict(name, num_clips=1, imgs=first))['imgs']
    views = dict(name, num_clips=2, imgs=sum(crops, []))
    after = np.stack(step(views)['imgs']).reshape(4, 8, 48, 63, 3)
    np.testing.assert_array_equal(after[0], alone)
    other = step(dict(name, num_clips=1, imgs=second))['imgs']
    np.testing.assert_array_equal(after[2], other)
    # Clip 1 draws anew where anything is drawn.
    assert (after[1] == other).all() == (cause == 'compression')
    segments = dict(filename='clip.mp4', clip_len=1, num_clips=8, imgs=first)
    np.testing.assert_array_equal(step(segments)['imgs'], alone)


@pytest.mark.parametrize('step', [Corrupt('rain', 4), AddAudioNoise(seed=0)])
def test_clips_of_one_file_draw_their_own_noise(clip, step):
    def change(**clip_keys):
        return step(dict(clip, **clip_keys))['waveform'].tolist()

    nothing = dict(clip_id=None, clip_start=None, clip_end=None)
    assert change() == change(**nothing) == change(filename='b/clip.mp4')
    spans = [change(clip_start=s, clip_end=s + 1.0) for s in (0.0, 1.0)]
    named = [change(clip_id=n, clip_start=0.0, clip_end=1.0) for n in 'ab']
    drawn = [change(), *spans, *named]
    assert all(a != b for a, b in combinations(drawn, 2))


@pytest.mark.parametrize('rate', [16000, 44100, 12345])
def test_compressed_audio_stays_where_it_was(rate):
    time = np.arange(rate) / rate
    chirp = np.sin(2 * np.pi * (200 + 300 * time) * time) * (time > 0.5)
    clip = dict(filename='a', waveform=chirp, sample_rate=rate, has_audio=True)
    after = Corrupt('compression', 1)(clip)['waveform']
    shifts = np.arange(-50, 51)
    match = [np.dot(np.roll(chirp, shift), after) for shift in shifts]
    assert abs(shifts[np.argmax(match)]) <= 1
    assert max(match) > 0.8 * np.dot(chirp, chirp)


def test_audio_comes_so_much_later(clip):
    wave = clip['waveform']
    for milliseconds in (0, 100, -100, 1e6, -1e6):
        out = Desynchronise(milliseconds)(dict(clip))['waveform']
        assert out.shape == wave.shape
        samples = round(milliseconds / 1000 * RATE)
        for place in (0, 2000, 7000, len(wave) - 1):
            source = place - samples
            inside = 0 <= source < len(wave)
            assert out[place] == (wave[source] if inside else 0)


@pytest.mark.parametrize(
    'change', [dict(cause='snow'), dict(strength=6), dict(modalities='imgs')]
)
def test_what_is_unknown_is_refused(change):
    with pytest.raises(ValueError, match='got'):
        Corrupt(**dict(dict(cause='wind', strength=1), **change))
