# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Making media files out of others with FFmpeg's program.

Which frames belong to a span is known from the reader that training uses; a
result is opened and its frames are counted before it counts as made.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import av
import imageio_ffmpeg
import numpy as np
from av.error import FFmpegError

from .containers import probe
from .faults import MediaError, NoAudioError
from .pixels import MAX_BYTES
from .pyav_reader import PyAVReader
from .video_reader import Span, frames_in_span

_RECODE = 'Cut it without --copy.'
_WHOLE: Span = (None, None)


class Encoding(NamedTuple):
    """How frames are encoded (H.264).

    Attributes:
        short_side: Pixels; None keeps the size. Never enlarges.
        crf: Quality, lower is better; 18 is nearly transparent.
        key_every: Frames from one key frame to the next: fewer make jumps
            in long files faster and the files larger.
        preset: Speed of x264.
    """

    short_side: int | None = None
    crf: int = 18
    key_every: int = 50
    preset: str = 'veryfast'

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result.

        H.264 with 4:2:0 colour needs even sides.

        Args:
            width: Of an upright frame with square pixels.
            height: The same.

        >>> Encoding(short_side=256).size(1920, 1080)
        (456, 256)
        """
        short = min(width, height)
        scale = Fraction(min(self.short_side or short, short), short)
        width, height = (
            max(round(side * scale / 2), 1) * 2 for side in (width, height)
        )
        return width, height


class _Wanted(NamedTuple):
    """The frames of a span.

    Attributes:
        count: How many.
        first: Second of the first one.
        seconds: From the first to the last one.
        seek: Where to jump first; None to decode from the start.
        select: Condition of FFmpeg's ``select`` filter.
        size: Width and height, upright, square pixels.
    """

    count: int
    first: float
    seconds: float
    seek: float | None
    select: str
    size: tuple[int, int]


@contextmanager
def finished_or_nothing(path: str) -> Iterator[str]:
    """A temporary name that becomes ``path`` only if all went well.

    Args:
        path: The final name; its folder is made.

    Yields:
        The name to write to, in the same folder and with the same extension.

    Raises:
        MediaError: In place of a codec's error; names the file.
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f'.part-{os.getpid()}-{name}')
    try:
        yield part
        os.replace(part, path)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError('or write', path, error) from error
    finally:
        if os.path.exists(part):
            os.remove(part)


def encode(
    source: str,
    target: str,
    encoding: Encoding,
    span: Span = _WHOLE,
    audio: str | None = None,
) -> None:
    """Decode and encode again, exact to the frame.

    Times are kept, variable rates too; frames stand upright and have square
    pixels.  A whole file keeps its audio packets as they are, or as AAC
    where the target's container does not take them; the audio of a span is
    cut to the sample and encoded as AAC.

    Args:
        source: The video.
        target: File to write (mp4, mkv).
        encoding: How to encode the frames.
        span: First and last second; the target's clock starts at the first.
        audio: An audio file of its own for the span; None: the video.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    wanted, info = _wanted_frames(source, span), probe(source)
    is_whole = span == _WHOLE and audio is None
    start = 0.0 if is_whole else span[0] or 0.0
    width, height = encoding.size(*wanted.size)
    # FFmpeg's own times are late in avi. STARTPTS is another one after the
    # size of the frames has changed.
    late = f'PTS-({start:.6f})/TB'
    if 'avi' in info.format or not (is_whole or '(t,' in wanted.select):
        late = f'PTS-STARTPTS+{wanted.first - start:.6f}/TB'
    filters = [
        *([] if is_whole else [f'select={wanted.select}']),
        f'settb=1/90000,setpts={late},scale={width}:{height},setsar=1',
    ]
    video = [
        *('-map', f'0:{info.video.index}', '-vf', ','.join(filters)),
        *('-c:v', 'libx264', '-crf', encoding.crf, '-pix_fmt', 'yuv420p'),
        *('-preset', encoding.preset, '-g', encoding.key_every),
        *('-fps_mode', 'passthrough', '-enc_time_base', '1/90000'),
    ]
    inputs = ['-copyts', *_input(source, wanted.seek)]
    tracks, shift = info if audio is None else probe(audio), 0.0
    stream = 0
    if audio is not None:
        inputs += _input(audio, None)
        shift, stream = info.start - tracks.start, 1
    arguments = [*inputs, *video]
    if tracks.audio is not None:
        arguments += ['-map', f'{stream}:{tracks.audio.index}']
        if not is_whole:
            arguments += ['-c:a', 'aac', '-af', _trim_audio(span, shift)]
    with finished_or_nothing(target) as part:
        if is_whole:
            _run_keeping_audio(arguments, part, source)
        else:
            _run(arguments, part, source)
        with PyAVReader(part) as made:
            stamps = made.frame_stamps
        if len(stamps) != wanted.count:
            raise MediaError(
                'or cut',
                source,
                f'FFmpeg wrote {len(stamps)} of its {wanted.count} frames',
            )
        if abs(stamps[-1] - stamps[0] - wanted.seconds) > 0.1:
            raise MediaError(
                'or cut',
                source,
                'its clock starts again or passes 0 within these frames',
                'Join its parts with FFmpeg instead (ffmpeg -f concat), or '
                'cut clips that leave that place out.',
            )
        if is_whole and abs(stamps[0] - wanted.first) > 0.02:
            raise MediaError(
                'or convert',
                source,
                f'its first frame at {wanted.first:.3f} s would move to '
                f'{stamps[0]:.3f} s',
                "Bring it onto a clock from 0 with 'ffmpeg -i FILE NEW.mp4' "
                'first.',
            )


def copy_span(source: str, target: str, span: Span) -> Span:
    """Cut a clip without encoding: fast and lossless, but not exact.

    It starts at a key frame at or before the span and may end a few frames
    after it.

    Args:
        source: The video.
        target: File to write.
        span: First and last second.

    Returns:
        Where the span is in the clip, as :func:`find_copied_span` finds it.

    Raises:
        MediaError: If a file cannot be read or written, or if the frames of
            the span are not in the result; names it.
    """
    info = probe(source)
    chosen = [s for s in (info.video, info.audio) if s]
    with PyAVReader(source, span=span) as reader:
        first, stop = _frames_of(reader, span)
        key, last = reader.frame_stamps[[0, stop - 1]]
        step = 1 / reader.avg_fps
    with finished_or_nothing(target) as part:
        _run(
            [
                *('-copyts', *_input(source, key)),
                # Frames are stored before they are shown.
                *('-to', f'{last + 10 * step:.6f}'),
                *(a for s in chosen for a in ('-map', f'0:{s.index}')),
                *('-c', 'copy', '-avoid_negative_ts', 'make_zero'),
            ],
            part,
            source,
            _RECODE,
        )
        return find_copied_span(source, part, span)


def find_copied_span(source: str, clip: str, span: Span) -> Span:
    """Where the frames of a span are in a copied clip.

    Args:
        source: The video.
        clip: The file that :func:`copy_span` wrote.
        span: First and last second, by the clock of the video.

    Returns:
        First and last second, by the clock of the clip.

    Raises:
        MediaError: If the clip does not hold them; names the video.
    """
    with PyAVReader(source, span=span) as reader:
        first, stop = _frames_of(reader, span)
        truth = reader.read([first, stop - 1])
        count, half = stop - first, 0.5 / reader.avg_fps
    with PyAVReader(clip) as made:
        stamps = made.frame_stamps
        for first in range(len(stamps) - count + 1):
            last = first + count - 1
            if np.array_equal(made.read([first, last]), truth):
                start = float(max(stamps[first] - half, 0.0))
                end = float(stamps[last] + half)
                return start, None if span[1] is None else end
    raise MediaError(
        'or copy',
        source,
        'the frames of the span are not in the copied clip',
        _RECODE,
    )


def extract_audio(
    source: str,
    target: str,
    sample_rate: int | None = None,
    span: Span = _WHOLE,
) -> None:
    """Write the audio as a mono wav or flac file.

    It starts with the video (or with the span), as ``LoadAudio`` expects of
    an audio file of its own.

    Args:
        source: Any file with audio.
        target: File to write.
        sample_rate: Samples a second; None keeps the file's.
        span: First and last second.

    Raises:
        MediaError: If a file cannot be read or written; names it.
        NoAudioError: If there is no audio.
    """
    info = probe(source)
    if info.audio is None:
        raise NoAudioError(
            f"'{source}' has no audio that can be decoded: take it out of "
            'the list.',
            'no audio',
        )
    start = info.start if span[0] is None else span[0]
    with finished_or_nothing(target) as part:
        _run(
            [
                *('-copyts', *_input(source, None)),
                *('-map', f'0:{info.audio.index}', '-ac', 1),
                *('-ar', sample_rate or info.audio.sample_rate),
                *('-af', _trim_audio((start, span[1]))),
            ],
            part,
            source,
        )
        if not os.path.exists(part) or probe(part).seconds in (None, 0):
            raise NoAudioError(f"'{source}' has no audio in the span.")


def repaint(
    source: str,
    target: str,
    paint: Callable[[np.ndarray, float], np.ndarray],
) -> None:
    """Write a video with changed frames, next to its own audio.

    Audio packets are kept as they are, or encoded as AAC where the target's
    container does not take them.

    Args:
        source: The video.
        target: File to write (mp4, mkv).
        paint: Changes a frame, RGB uint8 (height, width, 3), given its
            second on the source's clock.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    info, base = probe(source), Fraction(1, 90000)
    with (
        finished_or_nothing(target) as part,
        finished_or_nothing(f'{part}.mkv') as silent,
    ):
        with PyAVReader(source) as reader, av.open(silent, 'w') as writer:
            video = writer.add_stream('libx264', options=dict(crf='18'))
            video.codec_context.time_base = base
            video.pix_fmt = 'yuv420p'
            for pixels, second in _frames_with_times(reader):
                pixels = paint(pixels, second)
                height, width = (side // 2 * 2 for side in pixels.shape[:2])
                video.width, video.height = width, height
                frame = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(pixels[:height, :width]), 'rgb24'
                )
                frame.pts = round((second - info.start) / base)
                frame.time_base = base
                writer.mux(video.encode(frame))
            writer.mux(video.encode())
        audio = ['-map', f'1:{info.audio.index}'] if info.audio else []
        inputs = [*_input(silent, None), *_input(source, None)]
        arguments = [*inputs, '-map', '0:v', *audio, '-c:v', 'copy']
        _run_keeping_audio(arguments, part, source)


def _frames_with_times(
    reader: PyAVReader,
) -> Iterator[tuple[np.ndarray, float]]:
    """All frames, decoded in blocks: each read starts at a key frame."""
    stamps = reader.frame_stamps
    # A larger block would be reduced in size to fit.
    size = max(min(MAX_BYTES // reader.read([0]).nbytes, 64), 1)
    for first in range(0, len(stamps), size):
        block = stamps[first : first + size]
        frames = reader.read(range(first, first + len(block)))
        yield from zip(frames, block, strict=True)


def _wanted_frames(source: str, span: Span) -> _Wanted:
    """The frames of a span, and how FFmpeg is asked for them."""
    with PyAVReader(source, span=span) as reader:
        low, stop = _frames_of(reader, span)
        stamps = reader.frame_stamps
        height, width = reader.read([low]).shape[1:3]
        seek, condition = None, ''
        if reader.counted_by_packets:
            # Half a frame before the first and after the last one.
            before = stamps[low] - 0.5 / reader.avg_fps
            after = stamps[stop - 1] + 0.5 / reader.avg_fps
            if low:
                before = (stamps[low - 1] + stamps[low]) / 2
            if stop < len(stamps):
                after = (stamps[stop - 1] + stamps[stop]) / 2
            seek = stamps[0] if span[0] is not None else None
            condition = f"'between(t,{before:.6f},{after:.6f})'"
        count, first = stop - low, float(stamps[low])
        seconds = float(stamps[stop - 1] - stamps[low])
    if not condition:
        with PyAVReader(source) as reader:
            low, stop = _frames_of(reader, span)
        condition = f"'between(n,{low},{stop - 1})'"
    return _Wanted(count, first, seconds, seek, condition, (width, height))


def _frames_of(reader: PyAVReader, span: Span) -> tuple[int, int]:
    low, stop = frames_in_span(reader.frame_stamps, span)
    if stop <= low:
        raise MediaError(
            'video',
            reader.path,
            f'no frame is shown from {span[0]} s to {span[1]} s',
            'Correct its line in the annotation file.',
        )
    return low, stop


def _trim_audio(span: Span, shift: float = 0.0) -> str:
    """FFmpeg's filters that cut audio to a span, filled from its start on.

    Args:
        span: First and last second, by the video's clock.
        shift: Seconds from the clock of the audio to that of the video.
    """
    start, end = span[0] or 0.0, span[1]
    trim = f'atrim=start={start - shift:.6f}'
    if end is not None:
        trim += f':end={end - shift:.6f}'
    moved = f'asetpts=PTS-({start - shift:.6f})/TB'
    return f'{trim},{moved},aresample=async=1:first_pts=0'


def _input(path: str, seek: float | None) -> list[str]:
    """FFmpeg's arguments for a file, opened a little before a second."""
    jump = []
    if seek is not None:
        jump = ['-seek_timestamp', '1', '-ss', f'{seek:.6f}']
    return ['-noaccurate_seek', *jump, '-i', f'file:{path}']


def _run_keeping_audio(arguments: list, part: str, source: str) -> None:
    """Keep audio packets as they are, or encode them where that fails."""
    try:
        _run([*arguments, '-c:a', 'copy'], part, source)
    except MediaError:  # the container does not take this codec
        _run([*arguments, '-c:a', 'aac'], part, source)


def _run(
    arguments: list, part: str, source: str, advice: str | None = None
) -> None:
    """Let FFmpeg's program write a file.

    Raises:
        MediaError: If it does not; with FFmpeg's own words.
    """
    flags = ['-nostdin', '-hide_banner', '-loglevel', 'error', '-y']
    done = subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), *flags),
            *(str(argument) for argument in arguments),
            f'file:{part}',
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors='replace').strip().splitlines()
        why = re.sub(r'\[[^]]*@ 0x\w+\] ', '', said[-1] if said else 'FFmpeg')
        raise MediaError('or convert', source, why, advice)
