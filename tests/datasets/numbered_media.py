# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Media whose frames show their number and whose tones tell their second.

A reader can be wrong without an error: it gives a frame, only not the one
that was asked for.  FFmpeg's program makes the files.
"""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
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
        count: Number of frames.
        audio: FFmpeg's options for the audio; None for no audio.
    """
    if path.name in HAND_MADE:
        return _make_by_hand(path, count)
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


def _make_by_hand(path: Path, count: int) -> Path:
    """Frames without audio, in a form that FFmpeg reads but does not write."""
    source = path.with_name('fields.h264')
    if path.name.startswith('fields'):
        source.write_bytes(_fields(count))
    else:
        options = ('-c:v', 'mpeg4', '-bf', '2', '-g', '12', '-vtag', 'XVID')
        plain = make(path.with_name('plain.avi'), options, count, None)
        source = path.with_name('by_hand.avi')
        _pack(plain, source)
    rate = ('-framerate', 2 * FPS) if source.suffix == '.h264' else ()
    between = path.with_name(f'between{path.suffix}.ts')
    if rate and path.suffix != '.ts':  # gives the packets their times
        ffmpeg(*rate, '-i', source, '-c', 'copy', between)
        source, rate = between, ()
    ffmpeg('-fflags', '+genpts', *rate, '-i', source, '-c', 'copy', path)
    return path


def _pack(source: Path, target: Path) -> None:
    """Pack a frame and the B-frame that follows into one packet.

    DivX and XviD did so in avi; an empty packet follows.
    """
    mark = b'\0\0\1\xb2DivX503b1393p'

    def marked(data: bytes) -> bytes:
        """The name of the encoder, which says so, in place of FFmpeg's."""
        first = data.find(b'\0\0\1\xb2')
        if first < 0:
            return data
        after = data.find(b'\0\0\1', first + 4)
        return data[:first] + mark + (data[after:] if after > 0 else b'')

    with av.open(str(source)) as old, av.open(str(target), 'w') as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        header = bytes(old.streams.video[0].codec_context.extradata)
        stream.codec_context.extradata = marked(header)
        packets, is_open = [], False
        for packet in old.demux(video=0):
            data, key = marked(bytes(packet)), packet.is_keyframe
            is_b = data and data[data.find(b'\0\0\1\xb6') + 4] >> 6 == 2
            if is_b and not is_open:
                packets[-1][0] += data
            elif is_open and not is_b:
                packets += [[b'\0\0\1\xb6\x50\0\0\x7f', False], [data, key]]
            else:
                packets.append([data, key])
            is_open = bool(is_b)
        for number, (data, key) in enumerate(packets):
            if data:
                packet = av.Packet(data)
                packet.pts = packet.dts = number
                packet.time_base, packet.is_keyframe = Fraction(1, FPS), key
                packet.stream = stream
                new.mux(packet)


class _Bits:
    """Bits of a unit of H.264 (ITU-T H.264, 7.3)."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def put(self, *fields: tuple[int, int]) -> '_Bits':
        """Add numbers of (value, bits); 0 bits: in Exp-Golomb code."""
        for value, size in fields:
            if not size:
                value, size = value + 1, 2 * (value + 1).bit_length() - 1
            self.bits += [value >> n & 1 for n in range(size - 1, -1, -1)]
        return self

    def align(self) -> None:
        self.bits += [0] * (-len(self.bits) % 8)

    def unit(self, kind: int) -> bytes:
        """The unit; 3 after two zeros keeps it apart from a start code."""
        self.put((1, 1)).align()
        out = bytearray()
        for byte in np.packbits(np.array(self.bits, np.uint8)).tolist():
            if byte <= 3 and out[-2:] == b'\0\0':
                out.append(3)
            out.append(byte)
        return b'\0\0\0\1' + bytes([3 << 5 | kind]) + bytes(out)


def _fields(count: int) -> bytes:
    """H.264 whose pictures are fields, half of a frame each (PAFF).

    Blocks are stored as they are (I_PCM).
    """
    flag, zero = (1, 1), (0, 1)
    size = (WIDTH // 16 - 1, 0), (HEIGHT // 32 - 1, 0)
    times = (*4 * (zero,), flag, (1, 32), (2 * FPS, 32), flag, *4 * (zero,))
    header = ((77, 8), (0, 8), (30, 8), (0, 0), (4, 0), (2, 0), (1, 0), zero)
    sequence = _Bits().put(*header, *size, zero, zero, flag, zero, flag)
    sequence.put(*times)
    picture = _Bits().put((0, 0), (0, 0), zero, zero, *3 * ((0, 0),), zero)
    picture.put((0, 2), *3 * ((0, 0),), *3 * (zero,))
    sequence, picture = sequence.unit(7), picture.unit(8)
    out = []
    for number in range(count):
        is_key = number % 12 == 0
        out.append(b'\0\0\0\1\x09\x10')  # delimiter
        if is_key:
            out += [sequence, picture]
        luma = paint(number)[..., 0].astype(int) * 219 // 255 + 16
        for bottom in (0, 1):
            is_idr = is_key and not bottom
            slice_ = _Bits().put((0, 0), (7, 0), (0, 0), (number % 12, 8))
            slice_.put(flag, (bottom, 1))
            slice_.put(*([(number // 12 % 2, 0), zero] if is_idr else []))
            slice_.put(zero, (0, 0))
            field = luma[bottom::2].astype(np.uint8)
            for left in range(0, WIDTH, 16):
                slice_.put((25, 0)).align()
                block = field[:, left : left + 16].tobytes() + b'\x80' * 128
                pixels = np.frombuffer(block, np.uint8)
                slice_.bits += np.unpackbits(pixels).tolist()
            out.append(slice_.unit(5 if is_idr else 1))
    return b''.join(out)
