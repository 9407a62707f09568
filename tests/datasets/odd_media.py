# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files as they come: broken, odd, or plain wrong; each made by PyAV."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ca2st_mm.datasets.media_writer import write_clip

FPS, RATE = 25, 16000


def numbered(count=50, height=64, width=96):
    """Frames that tell up from down and each from the next."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    frames[:, : height // 2, : width // 2] = 220
    for number in range(count):
        left = number * (width - 8) // max(count - 1, 1)
        frames[number, -8:, left : left + 8, 1] = 250
    return frames


def tone(seconds=2.0):
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def write_frames(
    path,
    frames,
    pix_fmt='yuv420p',
    rotation=0,
    moments=None,
    codec='libx264',
    **options,
):
    """Encode without audio; moments are milliseconds."""
    unit = Fraction(1, FPS if moments is None else 1000)
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        # The same file every time: where it is cut decides what is lost.
        stream.codec_context.thread_count = 1
        stream.options = {'x264-params': 'mbtree=0'}
        stream.codec_context.time_base = unit
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts = number if moments is None else int(moments[number])
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def zero_bytes(path):
    Path(path).write_bytes(b'')


def truncated(path):
    write_clip(str(path), numbered(), FPS, tone())
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


def truncated_frames(path):
    """The header came first and is whole; a third of the data is gone."""
    write_frames(path, numbered(), movflags='faststart')
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: -len(data) // 3])


def audio_only(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=RATE)
        stream.layout = 'mono'
        frame = av.AudioFrame.from_ndarray(
            tone()[None], format='fltp', layout='mono'
        )
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def one_frame(path):
    write_clip(str(path), numbered(1), FPS, tone())


def variable_rate(path):
    steps = np.tile([40, 40, 80, 20], 13)[:50]
    write_frames(path, numbered(), moments=np.cumsum(steps) - steps[0])


def rotated(path):
    write_frames(path, numbered(), rotation=90)


def ten_bit(path):
    write_frames(path, numbered(), pix_fmt='yuv420p10le')


def odd_size(path):
    write_frames(path, numbered(50, 65, 97), pix_fmt='yuv444p')


def short_audio(path):
    write_clip(str(path), numbered(), FPS, tone(0.5))


def silent(path):
    write_clip(str(path), numbered(), FPS, 0 * tone())


def no_audio(path):
    write_clip(str(path), numbered(), FPS)


def wrong_duration(path):
    """The header says ten times the length."""
    write_clip(str(path), numbered(), FPS, tone())
    data = bytearray(Path(path).read_bytes())
    for box in (b'mvhd', b'mdhd'):
        at = data.find(box)
        while at >= 0:
            (length,) = struct.unpack_from('>I', data, at + 20)
            struct.pack_into('>I', data, at + 20, 10 * length)
            at = data.find(box, at + 4)
    Path(path).write_bytes(bytes(data))


_KINDS = (
    *(zero_bytes, truncated, truncated_frames, audio_only, one_frame),
    *(variable_rate, rotated, ten_bit, odd_size, short_audio, silent),
    *(no_audio, wrong_duration),
)
FILES = {kind.__name__: kind for kind in _KINDS}
