# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Corruptions of video and of audio that have one cause.

Wind shakes the camera and blows into the microphone: benchmarks of
robustness that corrupt one modality miss that both suffer together.  Every
cause has five strengths for each modality; all noise is drawn anew from the
seed and the clip (its file, and its id or span), so that results do not
depend on order or processes.  Frames and audio are synthetic: no recordings
are mixed in.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from scipy import ndimage, signal

from ca2st_mm.registry import TRANSFORMS

from ..media_writer import audio_pieces
from .base import Transform, clip_name

# What AAC can be, and the samples that the encoder puts before the first.
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_DELAY = 1024
# Ratio of signal to noise in decibel at the strengths 1 to 5.
_SNR = (15, 10, 5, 0, -5)


@TRANSFORMS.register_module()
class Corrupt(Transform):
    """Corrupt the frames and the waveform of a clip by one cause.

    Stands after ``DecodeVideo`` (and what resizes and crops frames) and
    before ``FormatShape`` for frames, after ``LoadAudio`` for audio; what is
    not there is not corrupted, nor is zero-filled audio.  The number of
    frames, their size, the number of samples and their rate stay.  Each view
    is a video of its own; the crops of one have the same noise.

    Modified keys: ``imgs``, a list of (H, W, 3) uint8; ``waveform``.

    Args:
        cause: One of :data:`CAUSES`.
        strength: 0 (nothing changes) to 5.
        modalities: Which of 'video' and 'audio' are corrupted.
        seed: Of the noise.

    Raises:
        ValueError: If the cause, strength or a modality is unknown.

    Example:
        >>> clip = dict(filename='a.mp4', imgs=[np.zeros((8, 8, 3), np.uint8)],
        ...             waveform=np.ones(1600, np.float32), sample_rate=16000,
        ...             has_audio=True)
        >>> Corrupt('wind', 3)(clip)['waveform'].shape
        (1600,)
    """

    def __init__(
        self,
        cause: str,
        strength: int,
        modalities: Sequence[str] = ('video', 'audio'),
        seed: int = 0,
    ) -> None:
        if cause not in CAUSES:
            raise ValueError(f'cause is one of {[*CAUSES]}, got {cause!r}')
        if strength not in range(6):
            raise ValueError(f'strength is 0 to 5, got {strength!r}')
        if unknown := set(modalities) - {'video', 'audio'}:
            raise ValueError(
                f"modalities are 'video' and 'audio', got {sorted(unknown)}"
            )
        self.cause = cause
        self.strength = strength
        self.modalities = tuple(modalities)
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Corrupt what is there."""
        if not self.strength:
            return results
        level = self.strength - 1
        of_video, of_audio = CAUSES[self.cause]
        name = f'{self.cause}/{clip_name(results)}'
        if 'video' in self.modalities and 'imgs' in results:
            imgs, views = results['imgs'], results.get('num_clips', 1)
            length = results.get('clip_len', len(imgs))
            if length == 1:  # clips of one frame are segments of one video
                length, views = views, 1
            results['imgs'] = []
            # Views are ordered by crop, then by clip.
            for number, start in enumerate(range(0, len(imgs), length)):
                which = number % views
                key = f'{name}#{which}' if which else name
                rng = np.random.default_rng([self.seed, 0, *key.encode()])
                frames = np.stack(imgs[start : start + length])
                frames = frames.astype(np.float32) / 255
                corrupted = of_video(frames, level, rng)
                corrupted = np.clip(corrupted * 255, 0, 255).round()
                results['imgs'] += list(corrupted.astype(np.uint8))
        if 'audio' in self.modalities and results.get('has_audio'):
            rng = np.random.default_rng([self.seed, 1, *name.encode()])
            wave, rate = results['waveform'], results['sample_rate']
            corrupted = of_audio(wave.astype(np.float64), rate, level, rng)
            results['waveform'] = corrupted.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class Desynchronise(Transform):
    """Let the audio come later than the video, or earlier.

    The waveform keeps its length: what leaves at one end is lost, at the
    other there is silence.  Stands after ``LoadAudio``.

    Args:
        milliseconds: How much later; below 0 earlier.
    """

    def __init__(self, milliseconds: float) -> None:
        self.milliseconds = milliseconds

    def transform(self, results: dict) -> dict:
        """Shift ``results['waveform']``."""
        waveform = results['waveform']
        if waveform is None:  # missing_audio='drop'
            return results
        late = round(self.milliseconds / 1000 * results['sample_rate'])
        late = max(min(late, len(waveform)), -len(waveform))
        shifted = np.zeros_like(waveform)
        kept = len(waveform) - abs(late)
        shifted[max(late, 0) :][:kept] = waveform[max(-late, 0) :][:kept]
        results['waveform'] = shifted
        return results


def _mix(wave: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise at a ratio of signal to noise, decibel."""
    power = np.mean(noise**2) * 10 ** (snr / 10)
    return wave + noise * np.sqrt(np.mean(wave**2) / max(power, 1e-20))


def _coloured(
    length: int, rate: int, rng: np.random.Generator, shape: Callable
) -> np.ndarray:
    """Noise whose amplitude at a frequency in Hz is given by a function."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / rate)
    return np.fft.irfft(spectrum * shape(frequencies), n=length)


def _slow(length: int, rate: float, hertz: float, rng) -> np.ndarray:
    """A smooth random curve of mean 0 and standard deviation 1."""
    knots = max(round(length / rate * hertz), 1) + 3
    curve = np.interp(
        np.linspace(0, knots - 1, length),
        np.arange(knots),
        rng.standard_normal(knots),
    )
    return curve - curve.mean()


def _wind_video(frames, level, rng):
    """The camera shakes."""
    height, width = frames.shape[1:3]
    size = (0.01, 0.02, 0.035, 0.055, 0.08)[level] * min(height, width)
    shifts = rng.standard_normal((len(frames), 2)) * size  # pixels
    angles = rng.standard_normal(len(frames)) * (0.5, 1, 2, 3, 5)[level]
    shaken = []
    for frame, shift, angle in zip(frames, shifts, angles, strict=True):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
        matrix[:, 2] += shift
        border = dict(borderMode=cv2.BORDER_REFLECT)
        shaken.append(cv2.warpAffine(frame, matrix, (width, height), **border))
    return np.stack(shaken)


def _wind_audio(wave, rate, level, rng):
    """Rumble that falls steeply with frequency, in gusts."""
    rumble = _coloured(len(wave), rate, rng, lambda f: 1 / (1 + (f / 80) ** 2))
    gusts = np.exp(_slow(len(wave), rate, 2, rng))
    return _mix(wave, rumble * gusts, _SNR[level] - 10)


def _rain_video(frames, level, rng):
    """Bright slanted streaks, other ones in every frame, and grey haze."""
    height, width = frames.shape[1:3]
    count = round((0.02, 0.04, 0.07, 0.11, 0.16)[level] * height * width / 12)
    slant = rng.uniform(-0.3, 0.3)
    wet = []
    for frame in frames:
        streaks = np.zeros((height, width), np.float32)
        for x, y in rng.uniform(0, 1, (count, 2)) * (width, height):
            length = rng.uniform(0.06, 0.16) * height
            end = (round(x + slant * length), round(y + length))
            cv2.line(streaks, (round(x), round(y)), end, 1.0, 1)
        drops = 0.8 * cv2.GaussianBlur(streaks, (3, 3), 0)[..., None]
        haze = 0.06 * (level + 1)
        wet.append((frame * (1 - haze) + 0.6 * haze) * (1 - drops) + drops)
    return np.stack(wet)


def _rain_audio(wave, rate, level, rng):
    """A broad hiss and single drops."""
    hiss = _coloured(len(wave), rate, rng, lambda f: f / (f + 800))
    drops = np.zeros(len(wave))
    hits = rng.integers(len(wave), size=max(len(wave) * 60 // rate, 1))
    drops[hits] = rng.exponential(1, len(hits))
    time = np.arange(round(0.012 * rate)) / rate
    ring = np.sin(2 * np.pi * rate / 6 * time) * np.exp(-time / 0.002)
    drops = signal.fftconvolve(drops, ring)[: len(wave)]
    return _mix(wave, hiss / hiss.std() + 6 * drops, _SNR[level])


def _crowd_video(frames, level, rng):
    """Heads in front of the camera, swaying."""
    count, height, width = frames.shape[:3]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    top = height * (1 - (0.15, 0.25, 0.35, 0.45, 0.6)[level])
    frames = frames.copy()
    for _ in range(5 + 2 * level):
        radius = rng.uniform(0.08, 0.14) * width
        x = rng.uniform(0, width) + 0.1 * width * _slow(count, 10, 5, rng)
        y = top + rng.uniform(0, 0.15) * height
        colour = rng.uniform(0.02, 0.25, 3)
        for frame, place in zip(frames, x, strict=True):
            head = np.hypot(columns - place, (rows - y) / 1.3) < radius
            body = (rows > y) & (np.abs(columns - place) < 1.6 * radius)
            frame[head | body] = colour
    return frames


def _crowd_audio(wave, rate, level, rng):
    """Babble: harmonic voices with formants, in syllables."""
    time = np.arange(len(wave)) / rate
    babble = np.zeros(len(wave))
    for _ in range(8):
        pitch = rng.uniform(90, 240)
        bent = pitch * (1 + 0.1 * _slow(len(wave), rate, 3, rng))
        voice = signal.sawtooth(2 * np.pi * np.cumsum(bent) / rate)
        formant = np.array((0.8, 1.2)) * rng.uniform(400, 900)
        band = signal.butter(1, formant, 'band', fs=rate, output='sos')
        syllables = np.sin(
            2 * np.pi * rng.uniform(3, 5) * time + rng.uniform(0, 6)
        )
        babble += signal.sosfilt(band, voice) * syllables.clip(0)
    return _mix(wave, babble, _SNR[level])


def _underwater_video(frames, level, rng):
    """Red is absorbed, blue-green light is scattered, waves bend the view."""
    depth = (0.4, 0.8, 1.3, 1.9, 2.6)[level]
    through = np.exp(-depth * np.array((1.0, 0.35, 0.25), np.float32))
    water = np.array((0.02, 0.35, 0.4), np.float32)
    count, height, width = frames.shape[:3]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    swing = (0.005, 0.01, 0.015, 0.02, 0.03)[level] * width
    phase = rng.uniform(0, 2 * np.pi)
    bent = []
    for number, frame in enumerate(frames):
        wave = phase + 0.4 * number + 4 * np.pi * rows / height
        frame = cv2.remap(
            frame,
            columns + swing * np.sin(wave).astype(np.float32),
            rows,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        bent.append(cv2.GaussianBlur(frame, (0, 0), swing / 2 + 0.1))
    return np.stack(bent) * through + water * (1 - through)


def _underwater_audio(wave, rate, level, rng):
    """Only low frequencies are left, and bubbles."""
    cutoff = min((3000, 1600, 900, 500, 300)[level], 0.45 * rate)
    low = signal.butter(3, cutoff, fs=rate, output='sos')
    bubbles = np.zeros(len(wave))
    time = np.arange(round(0.04 * rate)) / rate
    for start in rng.integers(len(wave), size=max(8 * len(wave) // rate, 1)):
        pitch = rng.uniform(300, 900) * (1 + 8 * time)
        tone = np.sin(2 * np.pi * pitch * time) * np.exp(-time / 0.012)
        end = min(start + len(tone), len(wave))
        bubbles[start:end] += tone[: end - start]
    added = _mix(wave, bubbles, _SNR[level] + 5) - wave
    return signal.sosfiltfilt(low, wave) + added


def _compression_video(frames, level, rng):
    """H.264 of low quality."""
    height, width = frames.shape[1:3]
    even = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    pixels = np.pad((frames * 255).round().astype(np.uint8), even, 'edge')
    encoder = av.CodecContext.create('libx264', 'w')
    encoder.height, encoder.width = pixels.shape[1:3]
    encoder.pix_fmt = 'yuv420p'
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1  # the same input gives the same bytes
    encoder.options = {
        'crf': ('30', '36', '41', '46', '51')[level],
        'preset': 'veryfast',
        'x264-params': 'mbtree=0',
    }
    packets = []
    for number, image in enumerate(pixels):
        frame = av.VideoFrame.from_ndarray(image, format='rgb24')
        frame.pts = number
        packets += encoder.encode(frame)
    decoded = _decoded('h264', [*packets, *encoder.encode()])
    shown = [frame.to_ndarray(format='rgb24') for frame in decoded]
    return np.stack(shown)[:, :height, :width] / np.float32(255)


def _compression_audio(wave, rate, level, rng):
    """AAC of a low bit rate, and the narrow band that goes with it."""
    band = (0.8, 0.6, 0.45, 0.3, 0.2)[level]  # of half the sample rate
    wave = signal.sosfiltfilt(signal.butter(4, band, output='sos'), wave)
    peak = max(np.abs(wave).max(), 1e-9)
    encoder = av.CodecContext.create('aac', 'w')
    # Another rate than AAC has is coded as if it were this one.
    encoder.sample_rate = rate if rate in _AAC_RATES else 16000
    encoder.layout, encoder.format = 'mono', 'fltp'
    encoder.time_base = Fraction(1, encoder.sample_rate)
    encoder.options = {'aac_pns': '0'}
    encoder.bit_rate = (24000, 16000, 12000, 8000, 6000)[level]
    encoder.open()
    packets = []
    for piece in audio_pieces(wave / peak, encoder.sample_rate, 0.0):
        packets += encoder.encode(piece)
    packets += encoder.encode()
    pieces = _decoded('aac', packets, encoder.extradata)
    decoded = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    decoded = decoded[_AAC_DELAY:][: len(wave)]
    return np.pad(decoded, (0, len(wave) - len(decoded))) * peak


def _decoded(codec: str, packets: list, extradata: bytes | None = None):
    decoder = av.CodecContext.create(codec, 'r')
    decoder.extradata = extradata
    decoder.thread_count = 1
    return [f for packet in [*packets, None] for f in decoder.decode(packet)]


def _lost(shape: tuple, level: int, rng: np.random.Generator) -> np.ndarray:
    """Which packets of parallel streams (streams, time) are lost, in bursts.

    What is lost at one level is lost at the next ones, too.
    """
    luck = ndimage.uniform_filter1d(rng.standard_normal(shape), 3)
    return luck <= np.quantile(luck, (0.05, 0.1, 0.2, 0.35, 0.5)[level])


def _packet_loss_video(frames, level, rng):
    """Stripes of a frame are lost; the last ones received stay."""
    shown = frames.copy()
    stripes = np.array_split(np.arange(frames.shape[1]), 8)
    lost = _lost((len(stripes), len(frames)), level, rng)
    for rows, gaps in zip(stripes, lost, strict=True):
        for number in np.flatnonzero(gaps):
            # The first frame has no earlier one.
            shown[number, rows] = shown[number - 1, rows] if number else 0.5
    return shown


def _packet_loss_audio(wave, rate, level, rng):
    """Packets of 20 ms are silent."""
    size = max(round(0.02 * rate), 1)
    lost = _lost((1, -(-len(wave) // size)), level, rng)[0]
    return np.where(np.repeat(lost, size)[: len(wave)], 0, wave)


def _darkness_video(frames, level, rng):
    """Little light, read out with noise and made bright again."""
    light = (0.2, 0.1, 0.05, 0.02, 0.008)[level]
    full = 1000 * light  # electrons of a white pixel
    electrons = rng.poisson(frames**2.2 * full) + rng.normal(
        0, 3, frames.shape
    )
    # Automatic gain gives back a part of the brightness.
    return np.clip(electrons / full, 0, 1) ** (1 / 2.2) * light**0.15


def _darkness_audio(wave, rate, level, rng):
    """A weak signal with the hiss of the gain that lifts it."""
    return _mix(wave, rng.standard_normal(len(wave)), _SNR[level] + 5)


def _motion_video(frames, level, rng):
    """The camera moves during the exposure."""
    reach = (0.04, 0.08, 0.12, 0.18, 0.25)[level] * min(frames.shape[1:3])
    size = max(round(reach), 2)
    turn = cv2.getRotationMatrix2D(
        ((size - 1) / 2, (size - 1) / 2), rng.uniform(0, 180), 1
    )
    line = np.zeros((size, size), np.float32)
    line[(size - 1) // 2 : size // 2 + 1] = 1
    kernel = cv2.warpAffine(line, turn, (size, size))
    kernel /= kernel.sum()
    return np.stack([cv2.filter2D(frame, -1, kernel) for frame in frames])


def _motion_audio(wave, rate, level, rng):
    """Bumps of handling the device."""
    time = np.arange(round(0.15 * rate)) / rate
    bumps = np.zeros(len(wave) + len(time))
    for start in rng.integers(len(wave), size=max(5 * len(wave) // rate, 1)):
        tone = np.sin(2 * np.pi * rng.uniform(50, 160) * time)
        rub = 0.3 * rng.standard_normal(len(time))
        bump = (tone + rub) * np.exp(-time / 0.03) * rng.exponential(1)
        bumps[start : start + len(time)] += bump
    return _mix(wave, bumps[: len(wave)], _SNR[level] - 5)


def _interference_video(frames, level, rng):
    """Rows jump aside, and bars of noise run through the frame."""
    count, height, width = frames.shape[:3]
    reach = (0.01, 0.03, 0.06, 0.1, 0.16)[level] * width
    share = (0.05, 0.1, 0.15, 0.25, 0.35)[level]
    disturbed = frames.copy()
    start, speed = rng.uniform(0, height), rng.uniform(0.05, 0.2) * height
    rows = np.arange(height)
    for number, frame in enumerate(disturbed):
        jumps = (reach * _slow(height, 1, 0.15, rng)).round().astype(int)
        for row, jump in zip(rows, jumps, strict=True):
            frame[row] = np.roll(frame[row], jump, axis=0)
        bar = (rows - start - speed * number) % height < share * height
        frame[bar] = 0.4 * frame[bar] + 0.6 * rng.random((bar.sum(), width, 1))
    return disturbed


def _interference_audio(wave, rate, level, rng):
    """Mains hum and the buzz of a mobile phone, 217 pulses a second."""
    time = np.arange(len(wave)) / rate
    phase = rng.uniform(0, 1)
    hum = sum(
        np.sin(2 * np.pi * (50 * time * n + phase)) / n for n in range(1, 8)
    )
    buzz = ((217 * time + phase) % 1 < 0.12) * 1.0
    on = (2 * time + phase) % 1 < 0.6
    return _mix(wave, hum + 4 * (buzz - buzz.mean()) * on, _SNR[level])


# What a cause does to frames, float (T, H, W, 3) in [0, 1], at a level from
# 0 to 4, and to a waveform of a sample rate.
CAUSES = dict(
    wind=(_wind_video, _wind_audio),
    rain=(_rain_video, _rain_audio),
    crowd=(_crowd_video, _crowd_audio),
    underwater=(_underwater_video, _underwater_audio),
    compression=(_compression_video, _compression_audio),
    packet_loss=(_packet_loss_video, _packet_loss_audio),
    darkness=(_darkness_video, _darkness_audio),
    motion=(_motion_video, _motion_audio),
    interference=(_interference_video, _interference_audio),
)
