# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Sound: containers, policies, cuts, corrupt files."""

import numpy as np
import pytest
import soundfile

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.transforms import (
    AddAudioNoise,
    CropAudio,
    LoadAudio,
    LogMelSpectrogram,
    MaskSpectrogram,
    MuteAudio,
    OpenVideo,
    RollAudio,
)


@pytest.mark.parametrize(
    ('name', 'rate', 'seconds'),
    [
        ('flute_guitar_aac.mp4', 44100, 10.0),
        ('flipping_pancake_opus.mkv', 48000, 10.38),
        ('applying_makeup_mp3.avi', 44100, 6.56),
    ],
)
def test_containers(shared_file, name, rate, seconds):
    path = str(shared_file(f'clips/{name}'))
    out = LoadAudio()(dict(filename=path))
    assert out['has_audio'] and not out['audio_dropped']
    assert out['sample_rate'] == rate
    assert out['waveform'].dtype == np.float32
    assert out['waveform'].ndim == 1
    assert len(out['waveform']) / rate == pytest.approx(seconds, abs=0.05)
    assert 0.001 < np.abs(out['waveform']).max() <= 1.5
    assert out['audio_start'] == pytest.approx(0, abs=0.05)


def test_a_part_equals_the_same_part_of_the_whole(shared_file):
    path = str(shared_file('clips/flute_guitar_aac.mp4'))
    whole = read_audio(path)
    part = read_audio(path, 4.0, 5.5)
    assert part.start == pytest.approx(4.0, abs=1e-3)
    assert len(part.waveform) / part.sample_rate == pytest.approx(
        1.5, abs=1e-3
    )
    first = round((part.start - whole.start) * whole.sample_rate)
    # AAC fills bands with random noise, so the two are alike, not equal.
    alike = [
        np.corrcoef(
            part.waveform,
            whole.waveform[first + s : first + s + len(part.waveform)],
        )[0, 1]
        for s in range(-5, 6)
    ]
    assert max(alike) > 0.99
    assert abs(int(np.argmax(alike)) - 5) <= 2


def test_a_wav_beside_the_video_wins(plain_clip, tmp_path):
    path = str(tmp_path / 'other.wav')
    stereo = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    soundfile.write(path, stereo, 8000)
    out = LoadAudio()(dict(filename=plain_clip, audio_path=path))
    assert out['sample_rate'] == 8000
    np.testing.assert_allclose(out['waveform'], 0.125, atol=1e-4)


def test_resampling_keeps_length_and_pitch(plain_clip):
    out = LoadAudio(sample_rate=8000)(dict(filename=plain_clip))
    assert out['sample_rate'] == 8000
    assert len(out['waveform']) / 8000 == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(out['waveform'][:8000]))
    assert abs(int(spectrum.argmax()) - 440) <= 2


def test_no_sound_raises_with_the_name(silent_clip):
    with pytest.raises(ValueError, match='silent.mp4.*has no sound'):
        LoadAudio()(dict(filename=silent_clip))


def test_a_sound_file_that_is_not_there(plain_clip):
    sample = dict(filename=plain_clip, audio_path='/nowhere.wav')
    with pytest.raises(ValueError, match='/nowhere.wav. does not exist'):
        LoadAudio()(sample)


@pytest.mark.parametrize(('policy', 'present'), [('silence', 1), ('drop', 0)])
@pytest.mark.parametrize('audio_path', [None, '/nowhere/at/all.wav'])
def test_policies(silent_clip, policy, present, audio_path):
    sample = dict(filename=silent_clip, audio_path=audio_path)
    out = OpenVideo()(sample)
    out = LoadAudio(missing=policy)(out)
    for transform in (AddAudioNoise(), RollAudio(), MuteAudio()):
        out = transform(out)
    assert out['has_audio'] is False
    assert not out['waveform'].any()
    assert len(out['waveform']) == pytest.approx(2 * 16000, rel=0.05)
    out = MaskSpectrogram()(LogMelSpectrogram(64, 32)(out))
    assert out['audios_present'].tolist() == [present]
    assert out['audios'].any() == bool(present)


def test_unknown_policy():
    with pytest.raises(ValueError, match="'raise', 'silence' or 'drop'"):
        LoadAudio(missing='ignore')


def test_corrupt_sound_names_itself(tmp_path):
    path = tmp_path / 'noise.wav'
    path.write_bytes(b'this is not sound' * 50)
    with pytest.raises(MediaError, match='noise.wav.*Replace the file'):
        LoadAudio()(dict(filename=str(path)))


def cut(waveform, times, rate=100, start=0.0, origin=0.0, **kwargs):
    """CropAudio on a hand-made sample."""
    return CropAudio(**kwargs)(
        dict(
            waveform=waveform,
            sample_rate=rate,
            audio_start=start,
            imgs_times=np.asarray(times, np.float32),
            time_origin=origin,
            avg_fps=10,
        )
    )


def test_cut_takes_the_seconds_of_the_frames():
    ramp = np.arange(1000, dtype=np.float32)
    out = cut(ramp, [[1.0, 1.9], [5.0, 5.9]])
    np.testing.assert_array_equal(out['waveforms'][0], ramp[100:200])
    np.testing.assert_array_equal(out['waveforms'][1], ramp[500:600])
    np.testing.assert_allclose(out['waveform_times'], [[1, 2], [5, 6]])


def test_cut_honours_late_tracks_and_the_origin():
    ramp = np.arange(1000, dtype=np.float32)
    late = cut(ramp, [[1.0, 1.9]], start=0.5)
    np.testing.assert_array_equal(late['waveforms'][0], ramp[50:150])
    clip = cut(ramp, [[1.0, 1.9]], origin=3.0)
    np.testing.assert_array_equal(clip['waveforms'][0], ramp[400:500])


def test_cut_widens_and_fills_with_zeros():
    ramp = np.arange(1, 201, dtype=np.float32)
    out = cut(ramp, [[0.0, 0.9]], min_seconds=4.0)
    wide = out['waveforms'][0]
    assert len(wide) == 400
    np.testing.assert_allclose(out['waveform_times'], [[-1.5, 2.5]])
    assert not wide[:150].any()
    np.testing.assert_array_equal(wide[150:350], ramp)
    assert not wide[350:].any()


def test_cut_needs_times():
    with pytest.raises(KeyError, match='FrameTimes'):
        CropAudio()(dict())


def test_noise_has_the_asked_ratio():
    np.random.seed(0)
    clean = np.sin(np.arange(16000) / 10).astype(np.float32)
    for exponent in (0.0, 1.0):
        sample = dict(waveform=clean, sample_rate=16000, has_audio=True)
        transform = AddAudioNoise(snr=(10, 10), exponent=exponent)
        noise = transform(sample)['waveform'] - clean
        ratio = np.mean(clean**2) / np.mean(noise**2)
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.1)


def test_roll_and_mute():
    np.random.seed(0)
    ramp = np.arange(1, 101, dtype=np.float32)
    sample = dict(waveform=ramp, sample_rate=10, has_audio=True)
    rolled = RollAudio(seconds=2)(dict(sample))['waveform']
    assert sorted(rolled) == sorted(ramp)
    muted = MuteAudio(share=0.2)(dict(sample))['waveform']
    gone = np.flatnonzero(muted == 0)
    assert len(gone) == 20 and np.all(np.diff(gone) == 1)
    assert ramp.all()
