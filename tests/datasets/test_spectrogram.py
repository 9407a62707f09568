# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Front ends against golden numbers, windows, padding, views."""

import json
import zlib

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from ca2st_mm.datasets.transforms import (
    AudioWaveform,
    BEATsSpectrogram,
    LibrosaLogMelSpectrogram,
    LogMelSpectrogram,
    MaskSpectrogram,
    WhisperSpectrogram,
)

WAVES = ('sweep', 'tone', 'noise')


def wave(name: str, rate: int) -> np.ndarray:
    """The golden waveforms, by the rule of their spec.json."""
    if name == 'sweep':
        t = np.arange(10 * rate) / rate
        slope = (7000 - 50) / 10
        x = 0.5 * np.sin(2 * np.pi * (50 * t + 0.5 * slope * t**2))
    elif name == 'tone':
        t = np.arange(round(0.3 * rate)) / rate
        x = 0.3 * np.sin(2 * np.pi * 440 * t)
    else:
        seed = zlib.crc32(f'input.noise.{rate}'.encode())
        x = np.random.default_rng(seed).standard_normal(12 * rate)
        x = 0.1 * x.astype(np.float32).astype(np.float64)
    return x.astype(np.float32)


def sample(waveform, rate=16000, start=0.0, **more):
    """A sample as ``LoadAudio`` leaves it."""
    return dict(
        waveform=waveform,
        sample_rate=rate,
        audio_start=start,
        has_audio=True,
        **more,
    )


def assert_close(actual, expected, atol, scale=1.0):
    """Within atol, but where the energy is under e^-10.

    There the float32 FFT of a loud tone leaves only rounding, which depends
    on the machine's FFT (measured: up to 0.0125).
    """
    expected = expected.astype(np.float32)
    error = np.abs(actual - expected)
    quiet = expected < (-10 if scale == 1.0 else (4.2677393 - 10) * scale)
    assert error[~quiet].max() < atol
    assert error[quiet].max(initial=0) < 0.03 * scale + atol
    assert np.mean(error < atol) > 0.95


def golden(shared_file, case):
    expected = np.load(shared_file(f'golden/{case}/expected.npz'))
    spec = json.loads(shared_file(f'golden/{case}/spec.json').read_text())
    return expected, spec


@pytest.mark.parametrize('name', WAVES)
def test_ast_features_are_golden(shared_file, name):
    expected, spec = golden(shared_file, 'audio_ast_fbank')
    waveform = wave(name, 16000)
    np.testing.assert_allclose(
        waveform[:8], expected[f'{name}.waveform_head'], atol=1e-7
    )
    features = LogMelSpectrogram().features(waveform, 16000)
    assert_close(features, expected[f'{name}.fbank'], 1e-3)
    cases = [k for k in expected if '.position' in k and k.startswith(name)]
    assert cases
    for key in cases:
        length = int(key.split('.')[1])
        position = float(key.split('position')[1])
        transform = LogMelSpectrogram(length, position=position)
        window = transform(sample(waveform))['audios'][0, 0]
        window = (window + 4.2677393) / (2 * 4.5689974)
        error = spec['waves'][name][key]['float16_error']
        assert_close(window, expected[key], 1e-3 + error, scale=1 / 9.138)


@pytest.mark.parametrize('name', WAVES)
def test_epic_sounds_features_are_golden(shared_file, name):
    expected, spec = golden(shared_file, 'audio_epic_sounds')
    waveform = wave(name, 24000)
    transform = LibrosaLogMelSpectrogram()
    stored = spec['waves'][name]
    np.testing.assert_allclose(
        transform.features(waveform, 24000),
        expected[f'{name}.logmel'].astype(np.float32),
        atol=1e-3 + stored['full_float16_error'],
    )
    window = transform(sample(waveform, 24000))['audios'][0, 0]
    np.testing.assert_allclose(
        (window + 1.5267) / (2 * 1.0327),
        expected[f'{name}.400.normalised'].astype(np.float32),
        atol=1e-3 + stored['400_float16_error'],
    )


def test_padding():
    """Zeros before normalisation for AST, silence for BEATs."""
    out = LogMelSpectrogram(100)(sample(wave('tone', 16000), start=0.5))
    assert out['audios'].shape == (1, 1, 100, 128)
    assert out['audios'].dtype == np.float32
    assert np.all(out['audios'][0, 0, 28:] == 0)
    assert np.all(out['audios'][0, 0, :28] != 0)
    # The window goes on past the audio: 28 frames are 0.3 s.
    np.testing.assert_allclose(
        out['audios_times'], [[0.5, 0.5 + 0.3 * 100 / 28]], atol=1e-6
    )
    assert out['audios_present'].tolist() == [1.0]
    track = wave('noise', 16000)[: 16000 // 2]
    half = BEATsSpectrogram(98)(sample(track))['audios'][0, 0]
    silent = np.concatenate((track, np.zeros(16000 // 2, np.float32)))
    whole = BEATsSpectrogram(98)(sample(silent))['audios'][0, 0]
    # But the two windows that are cut by the end of the track.
    np.testing.assert_allclose(half[:48], whole[:48], atol=1e-4)
    np.testing.assert_array_equal(half[50:], whole[50:])


@pytest.mark.parametrize('samples', [1, 10, 399, 400])
@pytest.mark.parametrize(
    'transform', [LogMelSpectrogram(64, 32), LibrosaLogMelSpectrogram(64, 32)]
)
def test_a_blink_of_audio_does_not_crash(transform, samples):
    out = transform(sample(np.full(samples, 0.1, np.float32)))
    assert np.isfinite(out['audios']).all()
    assert np.isfinite(out['audios_times']).all()


def test_views_follow_the_rule_of_the_reference():
    num_clips, num_crops = 2, 3
    frames = [np.zeros((8, 8, 3), np.uint8)] * (num_crops * num_clips * 4)
    views = dict(imgs=frames, num_clips=num_clips, clip_len=4)
    noise = wave('noise', 16000)
    out = LogMelSpectrogram(400, position='views')(sample(noise, **views))
    assert out['audios'].shape == (6, 1, 400, 128)
    full = LogMelSpectrogram().features(noise, 16000)
    # ThreeCrop gives left, right, middle: crop numbers 0, 2, 1.
    for view, (clip, crop) in enumerate(
        (k, s) for s in (0, 2, 1) for k in (0, 1)
    ):
        c = (num_crops * clip + crop + 3) / (num_crops * num_clips + 6)
        spare = len(full) - 400
        start = spare - int(np.floor(spare * (1 - c)))
        np.testing.assert_allclose(
            out['audios'][view, 0], full[start : start + 400], atol=1e-5
        )
        seconds = 12 / len(full)
        np.testing.assert_allclose(
            out['audios_times'][view],
            [start * seconds, (start + 400) * seconds],
            atol=1e-4,
        )


@pytest.mark.parametrize('rate', [8000, 11025, 16000, 22050, 24000, 44100])
@pytest.mark.parametrize('beats', [False, True])
def test_kaldi_features_are_torchaudios(rate, beats):
    rng = np.random.default_rng(rate)
    track = rng.normal(0.2, 0.1, 3 * rate + 17).astype(np.float32)
    front_end = LogMelSpectrogram(num_mels=64)
    options = dict(window_type='hanning', htk_compat=True, use_energy=False)
    read = track - track.mean()
    if beats:
        front_end, options = BEATsSpectrogram(num_mels=64), {}
        read = track * 2**15
    expected = kaldi.fbank(
        torch.from_numpy(read)[None],
        sample_frequency=rate,
        num_mel_bins=64,
        dither=0.0,
        **options,
    ).numpy()
    features = front_end.features(track, rate)
    assert features.shape == expected.shape
    assert len(features) == front_end.count(track, rate)
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize('seconds', [5, 30])
@pytest.mark.parametrize('mels', [80, 128])
def test_features_of_whisper_are_those_of_transformers(seconds, mels):
    transformers = pytest.importorskip('transformers', minversion='5.23')
    track = np.random.default_rng(0).normal(0, 0.1, seconds * 16000)
    track = (track * np.linspace(0.001, 1, len(track))).astype(np.float32)
    theirs = transformers.WhisperFeatureExtractor(feature_size=mels)
    expected = theirs(track, sampling_rate=16000).input_features[0].T
    found = WhisperSpectrogram(num_mels=mels)(sample(track))['audios'][0, 0]
    # But the windows that are cut by the end of the track.
    rows = np.r_[: 100 * seconds - 1, 100 * seconds + 2 : 3000]
    rows = rows[rows < 3000]
    np.testing.assert_allclose(found[rows], expected[rows], atol=1e-3)


def test_the_waveform_is_that_of_the_feature_extractor_of_transformers():
    transformers = pytest.importorskip('transformers', minversion='5.23')
    track = wave('noise', 16000)[:16000]
    theirs = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = theirs(track, sampling_rate=16000).input_values[0]
    found = AudioWaveform(20000)(sample(track))['audios'][0, 0, :, 0]
    np.testing.assert_allclose(found[:16000], expected, atol=1e-4)
    assert not found[16000:].any()


@pytest.mark.parametrize(
    'kind', [LogMelSpectrogram, BEATsSpectrogram, LibrosaLogMelSpectrogram]
)
@pytest.mark.parametrize('position', ['random', 'views', 0.3])
def test_a_window_is_cut_out_of_the_whole(kind, position):
    """Only what the views hear is computed, with the same values."""
    noise = wave('noise', 16000)
    transform = kind(num_frames=90, position=position)
    whole = transform.features(noise, 16000)
    views = dict(num_clips=2, clip_len=1, imgs=[np.zeros((2, 2, 3))] * 6)
    results = transform(sample(noise, **views))
    step = 12 / len(whole)
    for view, times in zip(
        results['audios'], results['audios_times'], strict=True
    ):
        start = round(float(times[0]) / step)
        np.testing.assert_allclose(
            view[0], whole[start : start + 90], atol=1e-5
        )
    starts = results['audios_times'][:, 0]
    assert len(starts) == 6
    if position == 'random':  # drawn once a sample
        again = transform(sample(noise, **views))['audios_times'][:, 0]
        assert len(set(starts)) == 1 and again[0] != starts[0]
    before = results['audios'].copy()
    after = MaskSpectrogram(time=30, freq=20)(results)['audios']
    changed = after != before
    assert 0.02 < changed.mean() < 0.9
    assert np.all(after[changed] == np.float32(-4.2677393))


def test_random_position_is_drawn_once_a_sample():
    np.random.seed(0)
    transform = LogMelSpectrogram(200, position='random')
    noise = wave('noise', 16000)
    starts = {
        float(transform(sample(noise))['audios_times'][0, 0]) for _ in range(8)
    }
    assert len(starts) > 4
    assert 0 <= min(starts) and max(starts) < 10.1
