# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Media whose frames show their number and whose tones tell their second.

A reader can be wrong without an error: it gives a frame, only not the one
that was asked for.  FFmpeg's program makes the files.
"""

import lzma
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile

FPS, RATE = 25, 48000
BLOCK, BITS = 16, 8
HEIGHT, WIDTH = 2 * BLOCK, BITS * BLOCK
# FFmpeg's arguments by kind of file; one name a cell of the grid.
_X264 = ('-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p')
_X265 = ('-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params')
_LIVE = ('-speed', '8', '-row-mt', '0')


def _cells() -> dict[str, tuple[str, ...]]:
    cells = {}
    for ext in ('mp4', 'mov', 'mkv', 'ts', 'flv', 'avi'):
        for frames, gop in ((0, 12), (2, 12), (3, 250)):
            options = ('-bf', frames, '-g', gop)
            cells[f'h264_b{frames}_g{gop}.{ext}'] = (*_X264, *options)
    for ext in ('mp4', 'mkv', 'avi', 'mov'):
        for frames in (0, 2):
            options = ('-c:v', 'mpeg4', '-bf', frames, '-g', '12')
            cells[f'mpeg4_b{frames}.{ext}'] = options
    for ext in ('mp4', 'mkv', 'ts', 'mov'):
        refresh = (*_X264, '-x264-params', 'intra-refresh=1:keyint=20')
        open_gop = (*_X264, '-bf', '3', '-g', '10', '-flags', '-cgop')
        cells[f'h264_open.{ext}'] = (*open_gop, '-x264-params', 'open-gop=1')
        cells[f'h264_refresh.{ext}'] = refresh
        cells[f'hevc_open.{ext}'] = (*_X265, 'open-gop=1:keyint=12:bframes=3')
    fields = ('-flags', '+ildct+ilme', '-x264-params', 'interlaced=1')
    cells['h264_fields.ts'] = (*_X264, *fields, '-bf', '2')
    cells['h264_ten_bit.mkv'] = (*_X264[:4], '-pix_fmt', 'yuv420p10le')
    for ext in ('mpg', 'ts', 'mkv', 'vob'):
        cells[f'mpeg2.{ext}'] = ('-c:v', 'mpeg2video', '-bf', '2', '-g', '12')
    return cells | {
        'mpeg1.mpg': ('-c:v', 'mpeg1video', '-bf', '2', '-g', '12'),
        'wmv2.wmv': ('-c:v', 'wmv2', '-g', '12'),
        'msmpeg4.avi': ('-c:v', 'msmpeg4', '-g', '12'),
        'flv1.flv': ('-c:v', 'flv', '-g', '12'),
        'h263.3gp': ('-c:v', 'h263', '-s', '176x144', '-g', '12'),
        'theora.ogv': ('-c:v', 'libtheora', '-g', '12', '-q:v', '9'),
        'mjpeg.avi': ('-c:v', 'mjpeg'),
        'mjpeg.mov': ('-c:v', 'mjpeg'),
        'prores.mov': ('-c:v', 'prores'),
        'ffv1.mkv': ('-c:v', 'ffv1'),
        'anim.gif': (),
        'vp8.webm': ('-c:v', 'libvpx', '-g', '30'),
        'vp9.webm': ('-c:v', 'libvpx-vp9', '-g', '30', *_LIVE),
        'vp9.mp4': ('-c:v', 'libvpx-vp9', '-g', '30', *_LIVE),
        'av1.mp4': ('-c:v', 'libsvtav1', '-preset', '12', '-g', '30'),
        'av1.mkv': ('-c:v', 'libsvtav1', '-preset', '12', '-g', '30'),
    }


CELLS = _cells()
# Kinds that no encoder at hand writes, see below.
HAND_MADE = (
    *('fields.ts', 'fields.mkv', 'fields.mp4', 'fields.mov'),
    *('packed.avi', 'packed.mkv', 'packed.mp4'),
)


def paint(number: int) -> np.ndarray:
    """A frame that shows its number: white and grey blocks, a moving bar."""
    frame = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 230
    left = 2 * number % (WIDTH - 8)
    frame[BLOCK + 4 : -4, left : left + 8] = (200, 40, 90)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that a decoded, upright frame of any size shows."""
    height, width = frame.shape[:2]
    rows = frame[height // 8 : height * 3 // 8]
    edges = np.linspace(0, width, BITS + 1)
    blocks = zip(edges[:-1], edges[1:], strict=True)
    third = width / BITS / 3
    return sum(
        int(rows[:, round(a + third) : round(b - third)].mean() > 145) << bit
        for bit, (a, b) in enumerate(blocks)
    )


def tones(seconds: float, rate: int = RATE) -> np.ndarray:
    """400 Hz in second 0, 600 Hz in second 1, and so on."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = 400 + 200 * np.floor(time)
    return (0.4 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def pitch_of(waveform: np.ndarray, rate: int) -> int:
    """The strongest pitch, Hz; 0 for silence."""
    if not len(waveform) or np.abs(waveform).max() < 0.01:
        return 0
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return round(np.argmax(power) * rate / len(waveform))


def ffmpeg(*arguments: object) -> None:
    """Run FFmpeg's program."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    flags = ('-nostdin', '-y', '-v', 'error')
    command = [program, *flags, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def make(
    path: Path,
    options: tuple = (*_X264, '-bf', '2', '-g', '12'),
    count: int = 60,
    audio: tuple | None = (),
) -> Path:
    """Write numbered frames and tones.

    Args:
        path: The file; its extension chooses the container.
        options: FFmpeg's, for the video.
        count: Number of frames, unless it is made by hand.
        audio: FFmpeg's options for the audio; None for no audio.
    """
    if path.name in HAND_MADE:
        return _make_by_hand(path)
    raw, wav = path.with_name('frames.rgb'), path.with_name('tones.wav')
    raw.write_bytes(b''.join(paint(n).tobytes() for n in range(count)))
    inputs = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-r', FPS]
    inputs += ['-s', f'{WIDTH}x{HEIGHT}', '-i', raw]
    if audio is not None and path.suffix != '.gif':
        soundfile.write(wav, tones(count / FPS), RATE)
        inputs += ['-i', wav]
        if path.suffix in ('.flv', '.3gp'):
            audio = ('-c:a', 'aac', *audio)
    ffmpeg(*inputs, *options, *(audio or ()), path)
    return path


def _make_by_hand(path: Path) -> Path:
    """60 frames without audio, in a form that FFmpeg reads but does not write.

    ``fields.h264`` was written bit by bit: every picture is a field, half of a
    frame (PAFF), blocks are stored as they are (I_PCM).  In ``packed.avi``,
    an MPEG-4 of FFmpeg, each B-frame was moved into the packet before, as
    DivX and XviD did, and the name of the encoder changed to theirs.
    """
    stored = next(Path(__file__).parent.glob(f'{path.stem}.*.xz'))
    source = path.with_name(stored.stem)
    source = source.with_stem(f'source_of_{path.suffix[1:]}')
    source.write_bytes(lzma.decompress(stored.read_bytes()))
    rate = ('-framerate', 2 * FPS) if source.suffix == '.h264' else ()
    if rate and path.suffix != '.ts':  # gives the packets their times
        between = source.with_suffix('.ts')
        ffmpeg(*rate, '-i', source, '-c', 'copy', between)
        source, rate = between, ()
    ffmpeg('-fflags', '+genpts', *rate, '-i', source, '-c', 'copy', path)
    return path
