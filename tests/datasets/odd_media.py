# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Files as they come: broken, odd, or plain wrong."""

import struct
from pathlib import Path

import numpy as np
from numbered_media import ffmpeg

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


def convert(path, *options, before=(), frames=None, audio=None):
    """A clip changed by FFmpeg's program."""
    plain = Path(path).with_suffix('.plain.mkv')
    frames = numbered() if frames is None else frames
    write_clip(str(plain), frames, FPS, audio)
    ffmpeg(*before, '-i', plain, *options, path)
    plain.unlink()


def zero_bytes(path):
    Path(path).write_bytes(b'')


def truncated(path):
    write_clip(str(path), numbered(), FPS, tone())
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


def truncated_frames(path):
    """The header came first and is whole; a third of the data is gone."""
    convert(path, '-movflags', 'faststart')
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: -len(data) // 3])


def audio_only(path):
    convert(path, '-vn', audio=tone())


def one_frame(path):
    write_clip(str(path), numbered(1), FPS, tone())


def variable_rate(path):
    """Steps of 40, 80, 20 and 40 milliseconds, and so on."""
    pts = '180*floor(N/4)+40*mod(N,4)+40*gte(mod(N,4),2)-20*eq(mod(N,4),3)'
    change = f"settb=1/1000,setpts='{pts}'"
    convert(path, '-vf', change, '-enc_time_base', '1/1000')


def rotated(path):
    convert(path, '-c', 'copy', before=('-display_rotation', 90))


def ten_bit(path):
    convert(path, '-pix_fmt', 'yuv420p10le')


def odd_size(path):
    frames = numbered(50, 66, 98)
    crop = ('-vf', 'format=yuv444p,crop=97:65:0:0')
    convert(path, *crop, frames=frames)


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
