# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Cutting clips out of videos without encoding them again."""

import av
import numpy as np
from av.error import FFmpegError

from .faults import MediaError
from .readers.frame_index import (
    SLACK,
    Span,
    index_frames,
    video_stream,
)
from .transcode import finished_or_nothing


def copy_span(source: str, target: str, span: Span) -> None:
    """Cut a clip without encoding: fast and lossless, but not exact.

    It starts at the key frame at or before the span
    (:func:`copied_start`) and may end a few frames behind it.

    Args:
        source: The video.
        target: File to write.
        span: First and last second.

    Raises:
        MediaError: If a file cannot be read or written; names it.
    """
    end = span[1]
    with finished_or_nothing(target) as part:
        with av.open(source) as reader, av.open(part, 'w') as writer:
            stream = video_stream(reader)
            first = _key_second(reader, stream, span)
            chosen = [stream, *reader.streams.audio[:1]]
            twins = {s: writer.add_stream_from_template(s) for s in chosen}
            reader.seek(round(first / stream.time_base), stream=stream)
            for packet in reader.demux(chosen):
                if packet.dts is None or packet.pts is None:
                    continue
                # By decoding time: the last frames of the span may need one
                # that is shown behind it.
                if end is not None and packet.dts * packet.time_base >= end:
                    continue
                if packet.pts * packet.time_base < first - SLACK:
                    continue
                shift = round(first / packet.time_base)
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = twins[packet.stream]
                writer.mux(packet)


def copied_start(source: str, span: Span) -> float:
    """Second of the source at which a copied clip starts.

    Args:
        source: The video.
        span: First and last second.

    Raises:
        MediaError: If the file cannot be read; names it.
    """
    try:
        with av.open(source) as reader:
            return _key_second(reader, video_stream(reader), span)
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError('video', source, error) from error


def _key_second(reader, stream, span: Span) -> float:
    """Second of the key frame at or before a span."""
    index = index_frames(reader, stream, span)
    if index.pts is None:
        raise ValueError(
            'it stores no times, so it cannot be cut by copying; encode it'
        )
    if not len(index.stamps):
        raise ValueError('no frame in the span')
    low = np.searchsorted(index.stamps, (span[0] or 0.0) + SLACK, 'right') - 1
    keys = index.keys[index.keys <= max(low, 0)]
    return float(index.stamps[keys[-1]])
