# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From clips and files on disk to the rows of a manifest."""

import csv
import os
import os.path as osp
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ..containers import has_audio
from ..faults import MediaError
from .annotations import Clip, LeftOut
from .media_index import MediaIndex
from .source import BenchmarkError

NO_FILE = 'no video file'
NO_SOUND_FILE = 'no sound file'
NO_SOUND = 'no sound track'
UNREADABLE = 'cannot be read'
NO_SPAN = 'its annotation ends before it starts'


@dataclass(frozen=True)
class MediaFiles:
    """Where the files of the clips are and which clips are wanted.

    Attributes:
        videos: Index of the videos.
        audio: Index of sound files beside them; None if the sound is in the
            videos.
        trimmed: Whether each clip is a file of its own.
        with_sound: Whether clips without a sound track are left out.
        keep_missing: Whether clips without a file stay in.
    """

    videos: MediaIndex
    audio: MediaIndex | None = None
    trimmed: bool = True
    with_sound: bool = False
    keep_missing: bool = False


def manifest_rows(
    clips: Sequence[Clip],
    columns: Sequence[str],
    files: MediaFiles,
    split: str,
) -> tuple[list[dict[str, object]], list[LeftOut]]:
    """Find the files of clips.

    Args:
        clips: Clips of one split.
        columns: Label columns.
        files: Where to look.
        split: Name of the split.

    Returns:
        Rows of the manifest with the paths found, and what is missing.

    Raises:
        BenchmarkError: If untrimmed videos are asked for but the
            annotations hold no times.
    """
    rows, left_out = [], []
    # Untrimmed videos hold many clips; each is opened once.
    sound_fault = cache(_sound_fault)
    for clip in clips:
        row, reason = _row(clip, files, split, sound_fault)
        if reason:
            left_out.append(LeftOut(clip.id, reason))
        if reason is None or (
            files.keep_missing and reason in (NO_FILE, NO_SOUND_FILE)
        ):
            named = zip(
                columns if clip.labels else (), clip.labels, strict=True
            )
            labels = dict(named)
            rows.append({**row, **labels, 'id': clip.id})
    return rows, left_out


def _row(
    clip: Clip,
    files: MediaFiles,
    split: str,
    sound_fault: Callable[[str], str | None],
) -> tuple[dict[str, object], str | None]:
    """Paths and times of one clip, and why it must be left out."""
    names = clip.names if files.trimmed else _video_names(clip)
    path = files.videos.find(names, split)
    reason = None if path else NO_FILE
    row = dict(file=path or files.videos.expected(names))
    if files.audio:
        sound = files.audio.find(names, split)
        reason = reason or (None if sound else NO_SOUND_FILE)
        row['audio'] = sound or files.audio.expected(names)
    elif files.with_sound and not reason:
        reason = sound_fault(path)
    if not files.trimmed:
        row.update(start=_seconds(clip.start), end=_seconds(clip.end))
        if clip.end <= clip.start:
            reason = NO_SPAN
    return row, reason


def _video_names(clip: Clip) -> tuple[str, ...]:
    """Names of the untrimmed video.

    Raises:
        BenchmarkError: If the annotations cannot be used without trimming.
    """
    if not clip.video or None in (clip.start, clip.end):
        raise BenchmarkError(
            f"The list has no times for the clip '{clip.id}', so it fits "
            'trimmed clips only; use the official annotation file, or pass '
            '--trimmed.'
        )
    return clip.video


def _seconds(time: float) -> str:
    """Microseconds are enough, and trailing zeros say nothing."""
    return f'{time:.6f}'.rstrip('0').rstrip('.')


def _sound_fault(path: str) -> str | None:
    """Why a video has no usable sound, or None."""
    try:
        return None if has_audio(path) else NO_SOUND
    except MediaError:
        return UNREADABLE


def write_manifest(path: str, rows: Sequence[dict[str, object]]) -> None:
    """Write rows as a CSV manifest.

    Files in the manifest's folder are written relative to it, so that the
    folder can move; others with their full path.

    Args:
        path: The manifest.
        rows: As :func:`manifest_rows` gives them, at least one.
    """
    folder = osp.dirname(osp.abspath(path))
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        for row in rows:
            paths = {
                key: _portable(row[key], folder)
                for key in ('file', 'audio')
                if key in row
            }
            writer.writerow({**row, **paths})


def write_left_out(path: str, left_out: Sequence[LeftOut]) -> None:
    """Write the clips that miss a file or that a rule leaves out.

    Args:
        path: The CSV file.
        left_out: The clips and why.
    """
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(LeftOut._fields)
        writer.writerows(left_out)


def _portable(path: str, folder: str) -> str:
    path = osp.abspath(path)
    if osp.commonpath([path, folder]) == folder:
        path = osp.relpath(path, folder)
    return path.replace(os.sep, '/')
