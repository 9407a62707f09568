# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Making media files out of others with FFmpeg's program.

The program gets the frames of the reader that training uses; a result is
opened and its frames are counted before it counts as made.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import imageio_ffmpeg
import numpy as np

from ca2st_mm.utils.files import written_whole

from .containers import decoder_errors, probe
from .faults import MediaError, NoAudioError
from .pixels import shown_size, to_rgb
from .video import PyAVReader, Span

_RECODE = 'Cut it without --copy.'
_WHOLE: Span = (None, None)
_TICK = Fraction(1, 90000)  # second, of what is written

Paint = Callable[[np.ndarray, float], np.ndarray]


class Encoding(NamedTuple):
    """How frames are encoded (H.264).

    Attributes:
        short_side: Pixels; None keeps the size. Never enlarges.
        crf: Quality, lower is better; 18 is nearly transparent.
        key_every: Frames from one key frame to the next: fewer make jumps
            in long files faster and the files larger.
    """

    short_side: int | None = None
    crf: int = 18
    key_every: int = 50

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


def encode(
    source: str,
    target: str,
    encoding: Encoding,
    span: Span = _WHOLE,
    audio: str | None = None,
    paint: Paint | None = None,
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
        paint: Changes a frame, RGB uint8 (height, width, 3), given its
            second on the source's clock.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    is_whole = span == _WHOLE and audio is None
    start = 0.0 if is_whole else span[0] or 0.0
    info = probe(source)
    tracks = info if audio is None else probe(audio)
    arguments = ['-copyts', '-f', 'nut', '-i', 'pipe:0']
    with (
        written_whole(target) as part,
        PyAVReader(source, span=span) as reader,
    ):
        low, stop = reader.frames_in(span)
        times = reader.frame_times[low:stop] - start
        if reader.is_joined and tracks.audio is not None:
            raise MediaError(
                'or cut',
                source,
                'its clock starts again within these frames',
                'Join its parts with FFmpeg instead (ffmpeg -f concat), or '
                'cut clips that leave that place out.',
            )
        if times[0] < -0.02:
            raise MediaError(
                'or convert',
                source,
                f'its first frame is shown at {times[0]:.3f} s, before 0',
                "Bring it onto a clock from 0 with 'ffmpeg -i FILE NEW.mp4' "
                'first.',
            )
        if tracks.audio is not None:
            seek = None
            if audio is None and span[0] is not None and reader.has_index:
                seek = reader.frame_times[0]
            arguments += _input(audio or source, seek)
            arguments += ['-map', f'1:{tracks.audio.index}']
        arguments += [
            *('-map', '0:v', '-c:v', 'libx264', '-crf', encoding.crf),
            *('-preset', 'veryfast', '-g', encoding.key_every),
            *('-fps_mode', 'passthrough', '-enc_time_base', _TICK),
        ]

        def write(pipe: BinaryIO) -> None:
            """Hand upright frames of one size, with their times, to FFmpeg."""
            size, last = None, -1
            with av.open(pipe, 'w', format='nut') as writer:
                video = writer.add_stream('rawvideo')
                video.pix_fmt, video.codec_context.time_base = 'yuv420p', _TICK
                for place, frame in reader.decoded(np.arange(low, stop)):
                    # The size may change inside the file: the first counts.
                    size = size or encoding.size(
                        *shown_size(frame, reader.ratio)
                    )
                    pixels = to_rgb(frame, *size, 'BICUBIC')
                    if paint is not None:
                        pixels = paint(pixels, times[place] + start)
                    video.width, video.height = size
                    frame = av.VideoFrame.from_ndarray(
                        np.ascontiguousarray(pixels), 'rgb24'
                    ).reformat(format='yuv420p', threads=1)
                    # No two frames may have one time, though some files have
                    # such.
                    last = max(round(times[place] / _TICK), last + 1)
                    frame.pts, frame.time_base = last, _TICK
                    writer.mux(video.encode(frame))

        if not is_whole:
            shift = info.start - tracks.start
            arguments += ['-c:a', 'aac', '-af', _trim_audio(span, shift)]
            _run(arguments, part, source, write=write)
        else:
            try:
                _run([*arguments, '-c:a', 'copy'], part, source, write=write)
            except MediaError:  # the container does not take this codec
                _run([*arguments, '-c:a', 'aac'], part, source, write=write)
        with PyAVReader(str(part)) as made:
            found = made.frame_times
        if len(found) != len(times):
            why = f'FFmpeg wrote {len(found)} of its {len(times)} frames'
            raise MediaError('or cut', source, why)
        if (off := np.abs(found - times).max()) > 0.1:
            why = f'times of frames would be off by up to {off:.2f} s'
            raise MediaError('or cut', source, why)


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
        _, stop = reader.frames_in(span)
        key, last = reader.frame_times[[0, stop - 1]]
        # Frames are stored before they are shown.
        end = last + 10 / reader.avg_fps
    with written_whole(target) as part:
        arguments = [
            *('-copyts', *_input(source, key), '-to', f'{end:.6f}'),
            *(a for s in chosen for a in ('-map', f'0:{s.index}')),
            *('-c', 'copy', '-avoid_negative_ts', 'make_zero'),
        ]
        _run(arguments, part, source, _RECODE)
        return find_copied_span(source, str(part), span)


def find_copied_span(source: str, clip: str, span: Span) -> Span:
    """Where the frames of a span are in the clip of :func:`copy_span`.

    Returns:
        First and last second, by the clock of the clip.

    Raises:
        MediaError: If the clip does not hold them; names the source.
    """
    with PyAVReader(source, span=span) as reader:
        first, stop = reader.frames_in(span)
        truth = reader.read([first, stop - 1])
        count, half = stop - first, 0.5 / reader.avg_fps
    cause = None
    try:
        with PyAVReader(clip) as made:
            times = made.frame_times
            for first in range(len(times) - count + 1):
                last = first + count - 1
                if np.array_equal(made.read([first, last]), truth):
                    start = float(max(times[first] - half, 0.0))
                    end = float(times[last] + half)
                    return start, None if span[1] is None else end
    except MediaError as error:
        cause = error
    why = 'the frames of the span are not in the copied clip'
    raise MediaError('or copy', source, why, _RECODE) from cause


def extract_audio(
    source: str, target: str, sample_rate: int | None = None
) -> None:
    """Write the audio as a mono wav or flac file.

    It starts with the video, as ``LoadAudio`` expects of an audio file of
    its own.

    Args:
        source: Any file with audio.
        target: File to write.
        sample_rate: Samples a second; None keeps the file's.

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
    with written_whole(target) as part:
        arguments = [
            *('-copyts', *_input(source, None)),
            *('-map', f'0:{info.audio.index}', '-ac', 1),
            *('-ar', sample_rate or info.audio.sample_rate),
            *('-af', _trim_audio((info.start, None))),
        ]
        _run(arguments, part, source)
        if not part.exists() or probe(str(part)).seconds in (None, 0):
            raise NoAudioError(f"'{source}' has no audio after its start.")


def _trim_audio(span: Span, shift: float = 0.0) -> str:
    """FFmpeg's filters that cut audio to a span, filled from its start on.

    ``shift`` is from the clock of the audio to that of the video, seconds.
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


def _run(
    arguments: list,
    part: Path,
    source: str,
    advice: str | None = None,
    write: Callable[[BinaryIO], None] | None = None,
) -> None:
    """Let FFmpeg's program write a file; ``write`` feeds its input.

    Raises:
        MediaError: If it does not; with FFmpeg's own words.
    """
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), '-nostdin', '-hide_banner'),
        *('-loglevel', 'error', '-y', *map(str, arguments), f'file:{part}'),
    ]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=words
        ) as process,
    ):
        try:
            if write is not None:
                with decoder_errors('video', source):
                    write(process.stdin)
        except MediaError as error:
            # Of a program that has ended we learn below.
            if not isinstance(error.__cause__, BrokenPipeError):
                process.kill()
                process.communicate()  # which puts up with the closed pipe
                raise
        process.communicate()
        words.seek(0)
        said = words.read().decode(errors='replace').strip().splitlines()
    if process.returncode:
        why = re.sub(r'\[[^]]*@ 0x\w+\] ', '', said[-1] if said else 'FFmpeg')
        raise MediaError('or convert', source, why, advice)
