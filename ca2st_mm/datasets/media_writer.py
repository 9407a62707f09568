# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Writing short clips with video and audio (tests, the toy world)."""

from fractions import Fraction

import av
import numpy as np

_BLOCK = 1024  # samples handed to the encoder at a time


def write_clip(
    path: str,
    frames: np.ndarray,
    fps: int,
    waveform: np.ndarray | None = None,
    sample_rate: int = 16000,
    starts: tuple = (0.0, 0.0),
) -> None:
    """Write H.264 and AAC into the container the extension names.

    One encoder thread, so that the same input gives the same file.

    Args:
        path: File to write (mp4, mkv, ...).
        frames: RGB uint8, (num_frames, height, width, 3); even sizes.
        fps: Frames a second.
        waveform: Mono float32 in [-1, 1], (num_samples,); None for a clip
            without an audio track.
        sample_rate: Samples a second.
        starts: Seconds at which video and audio start.
    """
    with av.open(path, 'w', options={'fflags': '+bitexact'}) as container:
        video = container.add_stream('libx264', rate=fps)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = 'yuv420p'
        # Without mbtree, which reads memory it has not written (measured:
        # the same input gave different files).
        video.options = {
            'crf': '18',
            'preset': 'veryfast',
            'x264-params': 'mbtree=0',
        }
        # PyAV sets the number of threads itself: an option has no effect.
        video.codec_context.thread_count = 1
        audio = None
        if waveform is not None:
            audio = container.add_stream('aac', rate=sample_rate)
            audio.layout = 'mono'
            audio.bit_rate = 64000
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts = number + round(starts[0] * fps)
            frame.time_base = Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            for piece in audio_pieces(waveform, sample_rate, starts[1]):
                container.mux(audio.encode(piece))
            container.mux(audio.encode())


def audio_pieces(waveform: np.ndarray, rate: int, start: float):
    """Blocks of samples with their times, ready to be encoded.

    Args:
        waveform: Mono float32 in [-1, 1], (num_samples,).
        rate: Samples per second.
        start: Second of the first sample.
    """
    track = np.ascontiguousarray(waveform, dtype=np.float32)[None]
    for first in range(0, track.shape[1], _BLOCK):
        block = np.ascontiguousarray(track[:, first : first + _BLOCK])
        piece = av.AudioFrame.from_ndarray(block, format='fltp', layout='mono')
        piece.sample_rate = rate
        piece.pts = first + round(start * rate)
        piece.time_base = Fraction(1, rate)
        yield piece
