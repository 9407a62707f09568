# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Audio: streams, mixing, limits, one clock, policies, cuts."""

from itertools import product

import av
import numpy as np
import pytest
import soundfile
from answer_files import explanation
from check_lists import Sample
from check_media import Limits, probe_sample
from check_report import Report, as_text
from numbered_media import (
    CELLS,
    FPS,
    RATE,
    ffmpeg,
    make,
    number_of,
    pitch_of,
    tones,
)

from ca2st_mm.apis.prediction import Prediction, Views
from ca2st_mm.datasets import audio as audio_module
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.containers import probe
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.transforms import (
    AddAudioNoise,
    AddPeakedNoise,
    AddPinkNoise,
    CropAudio,
    Desynchronise,
    LoadAudio,
    LogMelSpectrogram,
    MaskSpectrogram,
    MuteAudio,
    OpenVideo,
    RollAudio,
)
from ca2st_mm.datasets.video import PyAVReader


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    """Four seconds, AAC in mp4: 400, 600, 800, 1000 Hz."""
    path = tmp_path_factory.mktemp('base') / 'base.mp4'
    return make(path, CELLS['h264_b2_g12.mp4'], 100)


def pitches(audio, seconds):
    """Hz heard around some seconds."""
    waveform, rate, start = audio
    middle = [round((s - start) * rate) for s in seconds]
    half = rate // 8
    return [pitch_of(waveform[m - half : m + half], rate) for m in middle]


def heard(path, span=(None, None), seconds=(0.5, 1.5, 2.5, 3.5)):
    found = pitches(read_audio(str(path), *span), seconds)
    return [round(pitch, -1) for pitch in found]


TRUE = [400, 600, 800, 1000]


@pytest.mark.parametrize(
    'name',
    ['a.mp4', 'a.mkv', 'a.ts', 'a.avi', 'a.webm', 'a.mpg', 'a.wmv', 'a.flv']
    + ['a.ogv', 'a.wav', 'a.mp3', 'a.flac', 'a.m4a', 'a.ogg', 'a.opus'],
)
def test_a_span_holds_the_audio_of_its_seconds(base, tmp_path, name):
    path = tmp_path / name
    only = (
        ('-vn',) if name[2:] in ('wav', 'mp3', 'flac', 'ogg', 'opus') else ()
    )
    ffmpeg('-i', base, *only, '-ar', 44100 if 'flv' in name else RATE, path)
    zero = probe(str(path)).start if name in ('a.ts', 'a.mpg') else 0.0
    seconds = [zero + s for s in (0.5, 1.5, 2.5, 3.5)]
    assert heard(path, seconds=seconds) == TRUE
    part = read_audio(str(path), zero + 1.2, zero + 2.8)
    assert part.start == pytest.approx(zero + 1.2, abs=0.03)
    assert len(part.waveform) / part.sample_rate == pytest.approx(
        1.6, abs=0.05
    )
    assert [round(p, -1) for p in pitches(part, seconds[1:3])] == TRUE[1:3]


@pytest.mark.parametrize('codec', ['g722', 'adpcm_swf', 'adpcm_yamaha'])
def test_a_span_of_codecs_that_remember(base, tmp_path, codec):
    rate = 22050 if codec == 'adpcm_swf' else 16000
    path = tmp_path / 'a.wav'
    ffmpeg('-i', base, '-vn', '-c:a', codec, '-ar', rate, path)
    assert heard(path, (1.2, 2.8), (1.5, 2.5)) == TRUE[1:3]


@pytest.mark.parametrize('extension', ['ts', 'mpg'])
def test_time_goes_on_where_recordings_were_joined(base, tmp_path, extension):
    path, more = (tmp_path / f'{name}.{extension}' for name in 'ab')
    ffmpeg('-i', base, path)
    ffmpeg('-ss', 1, '-i', base, more)
    zero = probe(str(path)).start
    path.write_bytes(path.read_bytes() + more.read_bytes())
    seconds = [zero + s for s in (2.5, 3.5, 4.5, 5.5)]
    true = [800, 1000, 600, 800]
    assert heard(path, seconds=seconds) == true
    for second, pitch in zip(seconds, true, strict=True):
        span = (second - 0.3, second + 0.3)
        assert heard(path, span, [second]) == [pitch]
        with PyAVReader(str(path), span=span) as video:
            first, stop = video.frames_in(span)
            shown = number_of(video.read([(first + stop) // 2])[0])
        assert (shown // FPS) * 200 + 400 == pitch


def test_the_default_stream_is_read(base, tmp_path):
    path = tmp_path / 'two.mkv'
    silence = ('-f', 'lavfi', '-i', 'anullsrc=r=48000:d=4')
    maps = ('-map', '1:v', '-map', '0:a', '-map', '1:a', '-map', '0:a')
    flags = ('-disposition:a:0', '0', '-disposition:a:1', 'default')
    ffmpeg(*silence, '-i', base, *maps, *flags, path)
    info = probe(str(path))
    assert len(info.audios) == 3 and info.audio.index == 2
    assert info.choices('video') == []
    (choice,) = info.choices('audio')
    assert 'stream 2' in choice and 'one of 3' in choice
    sample = Sample('train', str(path), None, None, None, {})
    found = probe_sample(sample, Limits(decode=False))
    assert list(found.streams) == [choice]
    assert choice in as_text(Report([(sample, found)], [], Limits()))
    views = Views(None, None, None, None)
    answer = Prediction(str(path), None, None, {}, {}, views)
    assert choice in explanation(answer)
    assert info.audio.sample_rate == RATE
    assert heard(path) == TRUE
    assert heard(path, (1.0, 3.0), (1.5, 2.5)) == TRUE[1:3]


def without_decoder(path, target, which):
    """An audio stream in a codec that FFmpeg has no decoder for."""
    data = path.read_bytes()
    places = [i for i in range(len(data)) if data.startswith(b'mp4a', i)]
    data = bytearray(data)
    place = places[which]
    data[place : place + 4] = b'ac-4'
    esds = data.index(b'esds', place)  # it names the codec as well
    data[esds : esds + 4] = b'free'
    target.write_bytes(data)


def test_a_stream_without_decoder_is_left_alone(base, tmp_path):
    one, two = tmp_path / 'one.mp4', tmp_path / 'two.mp4'
    without_decoder(base, one, 0)
    info = probe(str(one))
    assert info.audio is None and info.audios
    assert read_audio(str(one)) is None
    with pytest.raises(NoAudioError, match='one.mp4.*can be decoded'):
        LoadAudio()(dict(filename=str(one)))
    ffmpeg('-i', base, *('-map', '0:v', '-map', '0:a', '-map', '0:a'), two)
    without_decoder(two, two, 0)
    assert heard(two) == TRUE


@pytest.mark.parametrize(
    ('layout', 'count'),
    [('stereo', 2), ('3.0', 3), ('5.1', 6), ('7.1', 8), ('7.1.4', 12)],
)
@pytest.mark.parametrize('extension', ['wav', 'mkv', 'pcm.mkv'])
def test_channels_are_mixed_as_ffmpeg_does(tmp_path, layout, count, extension):
    # pcm in mkv: FFmpeg guesses the layout from the number of channels.
    path, mixed = tmp_path / f'many.{extension}', tmp_path / 'mono.wav'
    sines = '|'.join(
        f'0.5*sin({2 * np.pi * (200 + 70 * i):.4f}*t)' for i in range(count)
    )
    source = f"aevalsrc='{sines}':c={layout}:s={RATE}:d=1"
    codec = 'flac' if extension == 'mkv' and count <= 8 else 'pcm_f32le'
    ffmpeg('-f', 'lavfi', '-i', source, '-c:a', codec, path)
    ffmpeg('-i', path, '-ac', 1, mixed)
    truth, _ = soundfile.read(mixed)
    audio = read_audio(str(path)).waveform[: len(truth)]
    assert np.abs(audio - truth[: len(audio)]).max() < 0.01


def test_a_damaged_packet_is_silent_and_nothing_moves(base, tmp_path):
    path = tmp_path / 'torn.mkv'
    ffmpeg('-i', base, '-c', 'copy', path)
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    data = path.read_bytes()
    for packet in packets[60:63]:
        data = data.replace(packet, b'\xff' * len(packet))
    path.write_bytes(data)
    assert heard(path) == TRUE
    torn, whole = read_audio(str(path)), read_audio(str(base))
    assert abs(len(torn.waveform) - len(whole.waveform)) < 1100
    silent = np.convolve(torn.waveform[RATE:] == 0, np.ones(1500), 'valid')
    assert silent.max() == 1500


def test_a_long_pause_ends_the_track(base, tmp_path, monkeypatch):
    path = tmp_path / 'pause.mkv'
    later = "asetpts='PTS+if(gt(T,2),900,0)/TB'"
    ffmpeg('-i', base, '-af', later, '-c:v', 'copy', path)
    audio = read_audio(str(path))
    assert len(audio.waveform) / RATE == pytest.approx(2, abs=0.1)
    monkeypatch.setattr(audio_module, 'MAX_GAP', 1000.0)
    audio = read_audio(str(path))
    assert len(audio.waveform) / RATE == pytest.approx(904, abs=0.1)
    monkeypatch.setattr(audio_module, 'MAX_SAMPLES', 100 * RATE)
    with pytest.raises(MediaError, match='pause.mkv.*beyond the limits'):
        read_audio(str(path))


@pytest.mark.parametrize('rate', [4000, 11025, 15999, 44101, 384_000])
def test_any_usual_rate_becomes_that_of_the_weights(tmp_path, rate):
    path = str(tmp_path / 'tone.wav')
    soundfile.write(path, tones(2, rate), rate)
    sample = LoadAudio(sample_rate=16000)(dict(filename=path))
    assert len(sample['waveform']) == 32000
    audio = sample['waveform'], sample['sample_rate'], sample['audio_start']
    assert pitches(audio, (0.5, 1.5)) == TRUE[:2]
    if odd := dict([(4000, 3999), (384_000, 384_001)]).get(rate):
        soundfile.write(path, tones(1, odd), odd)
        with pytest.raises(MediaError, match=f'tone.wav.*{odd} samples'):
            read_audio(path)


@pytest.mark.parametrize(
    ('extension', 'offset'),
    [('mkv', -1), *product(('ts', 'mpg', 'mkv', 'mp4'), (0, 50))],
)
def test_an_audio_file_of_its_own_starts_with_its_video(
    base, tmp_path, extension, offset
):
    video, audio = tmp_path / f'late.{extension}', tmp_path / 'late.wav'
    if offset < 0:
        keep = ('-c', 'copy', '-avoid_negative_ts', 'disabled', '-an')
        ffmpeg('-itsoffset', offset, '-i', base, *keep, video)
        ffmpeg('-i', base, audio)
    else:
        ffmpeg('-i', base, '-output_ts_offset', offset, video)
        ffmpeg('-i', video, audio)
    start = probe(str(video)).start
    for span in ({}, dict(clip_start=start + 1.1, clip_end=start + 2.9)):
        files = dict(filename=str(video), audio_path=str(audio), **span)
        for sample in (OpenVideo()(dict(files)), dict(files)):
            sample = LoadAudio()(sample)
            own = sample['waveform'], RATE, sample['audio_start']
            found = pitches(own, (start + 1.5, start + 2.5))
            assert [round(p, -1) for p in found] == TRUE[1:3]


def test_a_wav_next_to_the_video_wins(plain_clip, tmp_path):
    path = str(tmp_path / 'other.wav')
    stereo = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    soundfile.write(path, stereo, 8000)
    out = LoadAudio()(dict(filename=plain_clip, audio_path=path))
    assert out['sample_rate'] == 8000
    np.testing.assert_allclose(out['waveform'], 0.125, atol=1e-4)
    with pytest.raises(NoAudioError, match='/nowhere.wav. does not exist'):
        LoadAudio()(dict(filename=plain_clip, audio_path='/nowhere.wav'))


@pytest.mark.parametrize(('policy', 'present'), [('silence', 1), ('drop', 0)])
@pytest.mark.parametrize('audio_path', [None, '/nowhere/at/all.wav'])
def test_policies(silent_clip, policy, present, audio_path):
    sample = dict(filename=silent_clip, audio_path=audio_path)
    out = OpenVideo()(sample)
    out = LoadAudio(missing_audio=policy)(out)
    steps = (AddAudioNoise(), RollAudio(), MuteAudio(), Desynchronise(9))
    for step in steps:
        out = step(out)
    assert out['has_audio'] is False
    if present:
        assert len(out['waveform']) == pytest.approx(2 * 16000, rel=0.05)
        assert not out['waveform'].any()
    out = MaskSpectrogram()(LogMelSpectrogram(64, 32)(out))
    assert out['audios_present'].tolist() == [present]
    assert out['audios'].any() == bool(present)


@pytest.mark.parametrize(
    ('frames', 'start', 'origin', 'spans'),
    [
        ([[1.0, 1.9], [5.0, 5.9]], 0.0, 0.0, [(1, 2), (5, 6)]),
        ([[1.0, 1.9]], 0.5, 0.0, [(1, 2)]),  # a late track
        ([[1.0, 1.9]], 0.0, 3.0, [(4, 5)]),
    ],
)
@pytest.mark.parametrize('wider', [0.0, 3.0])
def test_a_cut_has_the_seconds_of_its_frames(
    frames, start, origin, spans, wider
):
    """Outside of the track there are zeros."""
    ramp, rate = np.arange(1, 701, dtype=np.float32), 100
    sample = dict(
        waveform=ramp,
        sample_rate=rate,
        audio_start=start,
        imgs_times=np.asarray(frames, np.float32),
        time_origin=origin,
        avg_fps=10,
    )
    out = CropAudio(min_seconds=1 + 2 * wider)(sample)
    sample['imgs_times'][0, -1] = 1e9
    with pytest.raises(MediaError, match='base.mp4.*hours apart'):
        CropAudio()(dict(sample, filename='base.mp4'))
    spans = np.array(spans) + (-wider, wider)
    np.testing.assert_allclose(out['waveform_times'], spans)
    for found, (first, last) in zip(out['waveforms'], spans, strict=True):
        places = np.arange(round(first * rate), round(last * rate))
        places -= round(start * rate)
        inside = (places >= 0) & (places < 700)
        np.testing.assert_array_equal(found, np.where(inside, places + 1, 0))


NOISES = (AddAudioNoise, AddPinkNoise, AddPeakedNoise)


def waveform_sample(waveform, rate):
    return dict(
        waveform=waveform, sample_rate=rate, has_audio=True, filename='a.mp4'
    )


@pytest.mark.parametrize(
    ('kind', 'low', 'high'),
    [
        # Percent of the power below 100 Hz and above 3 kHz, at 24 kHz.
        (AddAudioNoise, 100 / 120, 75),
        # The authors', measured on their code.
        (AddPeakedNoise, 0.64, 55.7),
        (AddPinkNoise, 58, 12),
    ],
)
def test_colour_of_the_noise(kind, low, high):
    rate = 24000
    noise = kind().noise(10 * rate, rate, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    power *= 100 / power.sum()
    hertz = np.fft.rfftfreq(len(noise), 1 / rate)
    assert power[hertz < 100].sum() == pytest.approx(low, rel=0.1)
    assert power[hertz > 3000].sum() == pytest.approx(high, rel=0.05)


@pytest.mark.parametrize('kind', [*NOISES, RollAudio, MuteAudio])
def test_strengths(kind):
    clean = np.sin(np.arange(32000) / 10 + 1).astype(np.float32)
    assert clean.all()

    def change(**arguments):
        out = kind(**arguments)(waveform_sample(clean, 16000))
        return (out['waveform'] - clean).tolist()

    if kind in NOISES:
        noise = change(snr=(7, 7)), change(strength=3)
        ratio = [np.mean(clean**2) / np.mean(np.square(n)) for n in noise]
        assert 10 * np.log10(ratio) == pytest.approx([7, 10], abs=0.1)
    assert not any(change(strength=0, seed=0))
    # The same clip at every reading, another one for another seed.
    first = change(strength=2, seed=1)
    assert change(strength=2, seed=1) == first != change(strength=2, seed=2)
    assert change() != change()
    if kind is not RollAudio:  # a sine comes back to itself
        by_strength = [change(strength=k, seed=0) for k in range(6)]
        powers = [np.mean(np.square(one)) for one in by_strength]
        assert powers == sorted(powers) and len(set(powers)) == 6


def test_roll_and_mute():
    ramp = np.arange(1, 101, dtype=np.float32)
    rolled = RollAudio(seconds=2)(waveform_sample(ramp, 10))['waveform']
    assert sorted(rolled) == sorted(ramp)
    muted = MuteAudio(share=0.2)(waveform_sample(ramp, 10))['waveform']
    gone = np.flatnonzero(muted == 0)
    assert len(gone) == 20 and np.all(np.diff(gone) == 1)
    muted = MuteAudio(strength=5)(waveform_sample(ramp, 10))['waveform']
    assert not muted.any()
    assert ramp.all()
