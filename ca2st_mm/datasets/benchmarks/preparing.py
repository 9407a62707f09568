# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Prepare a benchmark: annotation files and media in, manifests out."""

import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from ca2st_mm.utils.text_files import write_texts

from ..containers import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS, has_audio
from ..faults import MediaError
from ..manifest import manifest_text, repeats_message
from .benchmark import Benchmark, Clip, Form, LeftOut, Task, class_names
from .label_files import BenchmarkError, Source
from .media_index import MediaIndex

NO_FILE, NO_AUDIO_FILE = 'no video file', 'no audio file'
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Attributes:
        annotations: Folder of the annotation files.
        videos: Folder of the videos.
        out: Folder for the manifests, the ``data_root`` of configs.
        audio_root: Folder of audio files, if audio is not in the videos.
        lists: Split -> annotation file, in place of the usual ones.
        splits: Splits to prepare; empty for all there are.
        classes: File with class names in the order of the labels.
        trimmed: Whether each clip is a file of its own.
        with_audio: Leave out clips without audio.
        keep_missing: Keep clips without a file.
        allow_partial: Accept lists with another number of rows.
        encoding: Fallback for lists that are not UTF-8.
    """

    annotations: str
    videos: str
    out: str
    audio_root: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    classes: str | None = None
    trimmed: bool = True
    with_audio: bool = False
    keep_missing: bool = False
    allow_partial: bool = False
    encoding: str | None = None


def prepare(
    benchmark: Benchmark, request: Request, say: Say = print
) -> list[str]:
    """Write ``<split>.csv``, ``<split>_missing.csv`` and class names.

    All files are written at the end, all or none.

    Args:
        benchmark: The benchmark.
        request: What to prepare.
        say: Called with lines of the log.

    Returns:
        Paths of the manifests.

    Raises:
        BenchmarkError: If an annotation file is absent, of an unknown form,
            incomplete or wrong, or not a single clip has a file.
    """
    names = class_names(benchmark, request.classes, request.encoding)
    lists = find_lists(benchmark, request, say)
    clips = {
        split: read_split(benchmark, path, Task(split, names), request, say)
        for split, path in lists.items()
    }
    outputs = {s: osp.join(request.out, f'{s}.csv') for s in lists}
    inputs = {osp.realpath(path) for path in lists.values()}
    for path in outputs.values():
        if osp.realpath(path) in inputs:
            raise BenchmarkError(
                f"The manifest would overwrite the annotation file '{path}'; "
                'keep annotations in a folder of their own.'
            )
    files = _Files(request)
    texts = {}
    for column, values in names.items():
        suffix = '' if column == 'label' else f'_{column}'
        path = osp.join(request.out, f'classes{suffix}.txt')
        texts[path] = ''.join(f'{value}\n' for value in values)
        say(f"{len(values)} class names, as published, in '{path}'")
    for split, (wanted, left_out) in clips.items():
        path = outputs[split]
        missing_path = path.removesuffix('.csv') + '_missing.csv'
        rows, missing = _rows(wanted, list(names), files, split)
        found = len(wanted) - len(missing)
        say(f'{split}: found {found:,} of {len(wanted):,}')
        left_out = [*left_out, *missing]
        for reason, count in Counter(c.reason for c in left_out).items():
            say(f"{split}: {count:,} in '{missing_path}': {reason}")
        if not rows:
            raise BenchmarkError(_nothing_found(wanted, missing, files, split))
        texts[path] = manifest_text(path, list(rows[0]), rows)
        # Written even if empty: an older list would tell a wrong story.
        texts[missing_path] = manifest_text(
            missing_path, LeftOut._fields, [c._asdict() for c in left_out]
        )
        kept = len(rows) - found
        more = f', {kept:,} of them without a file' if kept else ''
        say(f"{split}: {len(rows):,} clips in '{path}'{more}")
        if not wanted[0].labels:
            say(f'{split}: no labels; for submissions alone')
    os.makedirs(request.out, exist_ok=True)
    write_texts(texts)
    return list(outputs.values())


def find_lists(
    benchmark: Benchmark, request: Request, say: Say
) -> Mapping[str, str]:
    """Annotation file of each split.

    Args:
        benchmark: The benchmark.
        request: Its ``annotations``, ``lists`` and ``splits``.
        say: Called with lines of the log.

    Raises:
        BenchmarkError: If a split is unknown, or its file not there.
    """
    folder, splits = request.annotations, request.splits
    unknown = sorted({*request.lists, *splits} - set(benchmark.lists))
    if unknown:
        raise BenchmarkError(
            f'{benchmark.title} has no split {unknown[0]!r}, only '
            f'{", ".join(benchmark.lists)}.'
        )
    found = {}
    for split in splits or benchmark.lists:
        named = request.lists.get(split)
        usual = [osp.join(folder, name) for name in benchmark.lists[split]]
        path = named or next(filter(osp.isfile, usual), None)
        if path and osp.isfile(path):
            found[split] = path
            continue
        absent = f"none of {', '.join(benchmark.lists[split])} in '{folder}'"
        if named:
            absent = f"no file '{named}'"
        if splits or named:
            raise BenchmarkError(
                f'{benchmark.title}, {split}: there is {absent}; pass '
                f'--annotations FOLDER or --list {split}=FILE.'
            )
        say(f'{split}: skipped, there is {absent}')
    if not found:
        raise BenchmarkError(
            f"{benchmark.title}: no annotation file in '{folder}'; "
            f'tools/data/{benchmark.name}/README.md says where to get it, '
            'then pass --annotations FOLDER.'
        )
    return found


def read_split(
    benchmark: Benchmark,
    path: str,
    task: Task,
    request: Request,
    say: Say,
) -> tuple[list[Clip], list[LeftOut]]:
    """Read the annotations of a split and check how many there are.

    Args:
        benchmark: The benchmark.
        path: The annotation file.
        task: The split and the class names.
        request: Its ``allow_partial``, ``encoding`` and ``trimmed``.
        say: Called with lines of the log.

    Returns:
        The clips, and those that a rule of the benchmark leaves out.

    Raises:
        BenchmarkError: If the form is unknown, a row is wrong, or the rows
            are not as many as published.
    """
    source, split = Source(path, request.encoding), task.split
    form = form_of(benchmark, source)
    say(f"{split}: reads '{path}' ({form.title})")
    found = [clip for clip in form.read(source, task) if clip is not None]
    rows, published = len(found), form.counts.get(split)
    if not rows:
        raise BenchmarkError(f"'{path}' has no row of the split '{split}'.")
    if published is None:
        say(f'{split}: {rows:,} rows; the published number is not known here')
    elif rows == published:
        say(f'{split}: {rows:,} rows, as published')
    else:
        than = 'fewer' if rows < published else 'more'
        if not request.allow_partial:
            raise BenchmarkError(
                f"{split}: '{path}' has {rows:,} rows, {than} than the "
                f'{published:,} published for this form; take the complete '
                'file, or pass --allow-partial to use this one.'
            )
        say(f'{split}: {rows:,} rows, {than} than the {published:,} published')
    clips = [clip for clip in found if isinstance(clip, Clip)]
    spans = [(clip.video, clip.start, clip.end) for clip in clips]
    repeats = repeats_message(
        (
            clip.names if request.trimmed or None in span else span,
            clip.labels,
            repr(clip.id),
        )
        for clip, span in zip(clips, spans, strict=True)
    )
    if repeats:
        say(f'{split}: {repeats}')
    return clips, [clip for clip in found if isinstance(clip, LeftOut)]


def form_of(benchmark: Benchmark, source: Source) -> Form:
    """Tell by its content in which form a file is.

    Raises:
        BenchmarkError: If it has none of the known forms.
    """
    for form in benchmark.forms:
        if form.matches(source):
            return form
    known = '; '.join(form.title for form in benchmark.forms)
    raise BenchmarkError(
        f"'{source.path}' starts with {source.lines[0][:80]!r}, which is no "
        f'form of {benchmark.title} known here: {known}.'
    )


class _Files:
    """Where the files of the clips are and which clips are wanted."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.videos = MediaIndex(request.videos, VIDEO_EXTENSIONS)
        self.audio = None
        if request.audio_root:
            self.audio = MediaIndex(request.audio_root, AUDIO_EXTENSIONS)
        # Untrimmed videos hold many clips; each is opened once.
        self.audio_fault = cache(_audio_fault)

    def names_of(self, clip: Clip) -> tuple[str, ...]:
        """What the file of a clip may be called.

        Raises:
            BenchmarkError: If the annotations need trimmed files.
        """
        if self.request.trimmed:
            return clip.names
        if not clip.video or None in (clip.start, clip.end):
            raise BenchmarkError(
                f"The list has no times for the clip '{clip.id}', so it fits "
                'trimmed clips only; use the official annotation file, or '
                'pass --trimmed.'
            )
        return clip.video


def _audio_fault(path: str) -> str | None:
    """Why a video has no usable audio, or None."""
    try:
        return None if has_audio(path) else 'no audio'
    except MediaError:
        return 'cannot be read'


def _rows(
    clips: Iterable[Clip], columns: Sequence[str], files: _Files, split: str
) -> tuple[list[dict], list[LeftOut]]:
    """Rows of the manifest with the paths found, and what is missing."""
    request, rows, left_out = files.request, [], []
    for clip in clips:
        names = files.names_of(clip)
        path = files.videos.find(names, split)
        reason = None if path else NO_FILE
        row = dict(file=path or files.videos.expected(names))
        if files.audio:
            audio = files.audio.find(names, split)
            reason = reason or (None if audio else NO_AUDIO_FILE)
            row['audio'] = audio or files.audio.expected(names)
        elif request.with_audio and not reason:
            reason = files.audio_fault(path)
        if not request.trimmed:
            row.update(start=_seconds(clip.start), end=_seconds(clip.end))
            if clip.end <= clip.start:
                reason = 'its annotation ends before it starts'
        if reason:
            left_out.append(LeftOut(clip.id, reason))
            if not (
                request.keep_missing and reason in (NO_FILE, NO_AUDIO_FILE)
            ):
                continue
        for key in row.keys() & {'file', 'audio'}:
            row[key] = _portable(row[key], request.out)
        labels = zip(columns, clip.labels, strict=True) if clip.labels else ()
        rows.append({**row, **dict(labels), 'id': clip.id})
    return rows, left_out


def _nothing_found(
    clips: Sequence[Clip],
    missing: Sequence[LeftOut],
    files: _Files,
    split: str,
) -> str:
    """Why no clip of a split can be used, and what was looked for."""
    if not clips:
        return f'{split}: a rule of the benchmark leaves out every row.'
    reasons = Counter(clip.reason for clip in missing)
    why = ', '.join(f'{n:,} x {reason}' for reason, n in reasons.items())
    names = ' or '.join(map(repr, files.names_of(clips[0])))
    return (
        f'{split}: not one of {len(clips):,} clips can be used: {why}. Looked '
        f"for {names} and so on below '{files.videos.root}'"
        + (f" and '{files.audio.root}'" if files.audio else '')
        + '; check --videos and --audio-root, or write the manifest all the '
        'same with --keep-missing.'
    )


def _seconds(time: float) -> str:
    """Microseconds are enough, and trailing zeros say nothing."""
    return f'{time:.6f}'.rstrip('0').rstrip('.')


def _portable(path: str, folder: str) -> str:
    """A path relative to the manifest's folder, if it lies below it."""
    path, folder = osp.abspath(path), osp.abspath(folder)
    if osp.commonpath([path, folder]) == folder:
        path = osp.relpath(path, folder)
    return path.replace(os.sep, '/')
