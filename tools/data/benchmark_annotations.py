# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Annotation files and media of a benchmark in, annotation files out."""

import os
import os.path as osp
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath

from benchmark_lists import Clip, LeftOut, Names, names_in_order, read_list

from ca2st_mm.datasets.annotations import annotation_text, repeats_message
from ca2st_mm.datasets.benchmarks import Benchmark
from ca2st_mm.datasets.containers import (
    AUDIO_EXTENSIONS,
    VIDEO_EXTENSIONS,
    files_below,
    probe,
)
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.list_files import ListFile
from ca2st_mm.utils.text_files import ListFileError, write_texts

NO_FILE, NO_AUDIO_FILE = 'no video file', 'no audio file'


def write_annotations(benchmark: Benchmark, args: Namespace) -> None:
    """Write ``<split>.csv``, ``<split>_missing.csv`` and class names.

    All files are written at the end, all or none; what is found is printed.

    Raises:
        ListFileError: If an annotation file is absent, of an unknown form,
            incomplete or wrong, or not a single clip has a file.
    """
    names = names_in_order(benchmark, args.classes, args.encoding)
    lists = _find_lists(benchmark, args)
    clips = {
        split: _read_split(benchmark, path, split, names, args)
        for split, path in lists.items()
    }
    outputs = {s: osp.join(args.out, f'{s}.csv') for s in lists}
    inputs = {osp.realpath(path) for path in lists.values()}
    for path in outputs.values():
        if osp.realpath(path) in inputs:
            raise ListFileError(
                f"The result would overwrite the list '{path}'; "
                'keep annotations in a folder of their own.'
            )
    texts = {}
    for column, values in names.items():
        suffix = '' if column == 'label' else f'_{column}'
        path = osp.join(args.out, f'classes{suffix}.txt')
        texts[path] = ''.join(f'{value}\n' for value in values)
        print(f"{len(values)} class names, as published, in '{path}'")
    files = _Files(args)
    for split, (wanted, left_out) in clips.items():
        path = outputs[split]
        missing_path = path.removesuffix('.csv') + '_missing.csv'
        rows, missing = files.rows(wanted, list(names), split)
        found = len(wanted) - len(missing)
        print(f'{split}: found {found:,} of {len(wanted):,}')
        left_out = [*left_out, *missing]
        for reason, count in Counter(c.reason for c in left_out).items():
            print(f"{split}: {count:,} in '{missing_path}': {reason}")
        if not rows:
            why = files.nothing_found(wanted, missing)
            raise ListFileError(f'{split}: {why}')
        texts[path] = annotation_text(path, list(rows[0]), rows)
        # Written even if empty: an older list would tell a wrong story.
        texts[missing_path] = annotation_text(
            missing_path, LeftOut._fields, [c._asdict() for c in left_out]
        )
        kept = len(rows) - found
        more = f', {kept:,} of them without a file' if kept else ''
        print(f"{split}: {len(rows):,} clips in '{path}'{more}")
        if not wanted[0].labels:
            print(f'{split}: no labels; for submissions alone')
    os.makedirs(args.out, exist_ok=True)
    write_texts(texts)


def _find_lists(benchmark: Benchmark, args: Namespace) -> dict[str, str]:
    """Annotation file of each split."""
    folder, splits = args.annotations, args.splits
    unknown = sorted({*args.lists, *splits} - set(benchmark.lists))
    if unknown:
        raise ListFileError(
            f'{benchmark.title} has no split {unknown[0]!r}, only '
            f'{", ".join(benchmark.lists)}.'
        )
    found = {}
    for split in splits or benchmark.lists:
        named = args.lists.get(split)
        usual = [osp.join(folder, name) for name in benchmark.lists[split]]
        path = next(filter(osp.isfile, [named] if named else usual), None)
        if path:
            found[split] = path
            continue
        absent = f"none of {', '.join(benchmark.lists[split])} in '{folder}'"
        if named:
            absent = f"no file '{named}'"
        if splits or named:
            raise ListFileError(
                f'{benchmark.title}, {split}: there is {absent}; pass '
                f'--annotations FOLDER or --list {split}=FILE.'
            )
        print(f'{split}: skipped, there is {absent}')
    if not found:
        raise ListFileError(
            f"{benchmark.title}: no annotation file in '{folder}'; "
            f'tools/data/{benchmark.name}/README.md says where to get it, '
            'then pass --annotations FOLDER.'
        )
    return found


def _read_split(
    benchmark: Benchmark,
    path: str,
    split: str,
    names: Names,
    args: Namespace,
) -> tuple[list[Clip], list[LeftOut]]:
    """The clips of a split, and those that a rule leaves out."""
    source = ListFile(path, args.encoding)
    form, found = read_list(benchmark, source, split, names)
    print(f"{split}: reads '{path}' ({form.title})")
    rows, published = len(found), form.counts.get(split)
    if not rows:
        raise ListFileError(f"'{path}' has no row of the split '{split}'.")
    said = 'as published'
    if published is None:
        said = 'the published number is not known here'
    elif rows != published:
        than = 'fewer' if rows < published else 'more'
        said = f'{than} than the {published:,} published'
        if not args.allow_partial:
            raise ListFileError(
                f"{split}: '{path}' has {rows:,} rows, {said} for this form; "
                'take the published file, or pass --allow-partial to use '
                'this one.'
            )
    print(f'{split}: {rows:,} rows, {said}')
    clips = [clip for clip in found if isinstance(clip, Clip)]
    repeats = repeats_message(
        (
            clip.names
            if args.trimmed or None in (clip.start, clip.end)
            else (clip.video, clip.start, clip.end),
            clip.labels,
            repr(clip.id),
        )
        for clip in clips
    )
    if repeats:
        print(f'{split}: {repeats}')
    return clips, [clip for clip in found if isinstance(clip, LeftOut)]


class _MediaIndex:
    """Media files below a folder.

    A name matches a file if it is the end of its path, whole folders at a
    time, with or without the extension: ``P01_01`` finds
    ``P01/videos/P01_01.MP4``.
    """

    def __init__(self, root: str, extensions: Sequence[str]) -> None:
        if not osp.isdir(root):
            raise ListFileError(
                f"There is no folder '{root}'; name the one with the files "
                'with --videos or --audio-root.'
            )
        self.root = root
        self.extensions = tuple(extensions)
        self._by_stem: dict[str, list[PurePath]] = {}
        for path in map(PurePath, files_below(root, self.extensions)):
            inside = path.relative_to(root)
            self._by_stem.setdefault(path.stem, []).append(inside)

    def find(self, names: Sequence[str], split: str) -> str | None:
        """The path of a file by its names, best first; None if absent.

        Where several files match, the one below a folder called like the
        split is meant.
        """
        for name in names:
            stem = _split(name)[0]
            wanted = PurePath(stem).parts
            matches = [
                path
                for path in self._by_stem.get(osp.basename(stem), ())
                if path.with_suffix('').parts[-len(wanted) :] == wanted
            ]
            found = matches
            if len(matches) > 1:
                found = [path for path in matches if split in path.parts[:-1]]
            if len(found) == 1:
                return osp.join(self.root, found[0])
            if matches:
                first, second = (osp.join(self.root, p) for p in matches[:2])
                raise ListFileError(
                    f"Two files are called like the clip '{name}': '{first}' "
                    f"and '{second}'; keep one, or put those of this split "
                    f"below a folder '{split}'."
                )
        return None

    def expected(self, names: Sequence[str]) -> str:
        """The path at which a missing clip should be."""
        stem, extension = _split(names[0])
        if extension.lower() not in self.extensions:
            extension = self.extensions[0]
        return osp.join(self.root, stem + extension)


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; a dot within a name is part of the stem.

    Clips of UCF-101 are avi in the lists and may be mp4 on disk.
    """
    stem, extension = osp.splitext(name)
    known = extension.lower() in VIDEO_EXTENSIONS + AUDIO_EXTENSIONS
    return (stem, extension) if known else (name, '')


class _Files:
    """The files of the clips."""

    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.videos = _MediaIndex(args.videos, VIDEO_EXTENSIONS)
        self.audio = None
        if args.audio_root:
            self.audio = _MediaIndex(args.audio_root, AUDIO_EXTENSIONS)
        # Untrimmed videos hold many clips; each is opened once.
        self.audio_fault = cache(_audio_fault)

    def names_of(self, clip: Clip) -> tuple[str, ...]:
        """What the file of a clip may be called."""
        if self.args.trimmed:
            return clip.names
        if not clip.video or None in (clip.start, clip.end):
            raise ListFileError(
                f"The list has no times for the clip '{clip.id}', so it fits "
                'trimmed clips only; use the official annotation file, or '
                'pass --trimmed.'
            )
        return clip.video

    def rows(
        self, clips: Sequence[Clip], columns: Sequence[str], split: str
    ) -> tuple[list[dict], list[LeftOut]]:
        """Rows of the annotation file, and the clips that miss something."""
        args, rows, left_out = self.args, [], []
        for clip in clips:
            names = self.names_of(clip)
            path = self.videos.find(names, split)
            reason = None if path else NO_FILE
            row = dict(file=path or self.videos.expected(names))
            if self.audio:
                audio = self.audio.find(names, split)
                reason = reason or (None if audio else NO_AUDIO_FILE)
                row['audio'] = audio or self.audio.expected(names)
            elif args.with_audio and path:
                reason = self.audio_fault(path)
            row = {k: _portable(v, args.out) for k, v in row.items()}
            if not args.trimmed:
                row |= dict(start=_time(clip.start), end=_time(clip.end))
                if clip.end <= clip.start:
                    reason = 'its annotation ends before it starts'
            if reason:
                left_out.append(LeftOut(clip.id, reason))
            absent = reason in (NO_FILE, NO_AUDIO_FILE)
            if not reason or (absent and args.keep_missing):
                labels = dict(zip(columns, clip.labels, strict=False))
                rows.append({**row, **labels, 'id': clip.id})
        return rows, left_out

    def nothing_found(
        self, clips: Sequence[Clip], missing: Sequence[LeftOut]
    ) -> str:
        """Why no clip of a split can be used, and what was looked for."""
        if not clips:
            return 'a rule of the benchmark leaves out every row.'
        reasons = Counter(clip.reason for clip in missing)
        why = ', '.join(f'{n:,} x {reason}' for reason, n in reasons.items())
        names = ' or '.join(map(repr, self.names_of(clips[0])))
        return (
            f'not one of {len(clips):,} clips can be used: {why}. Looked for '
            f"{names} and so on below '{self.videos.root}'"
            + (f" and '{self.audio.root}'" if self.audio else '')
            + '; check --videos and --audio-root, or write the annotation '
            'file all the same with --keep-missing.'
        )


def _audio_fault(path: str) -> str | None:
    """Why a video has no usable audio, or None."""
    try:
        return None if probe(path).audio else 'no audio'
    except MediaError:
        return 'cannot be read'


def _time(seconds: float) -> str:
    """Microseconds are enough, and trailing zeros say nothing."""
    return f'{seconds:.6f}'.rstrip('0').rstrip('.')


def _portable(path: str, folder: str) -> str:
    """A path relative to the annotation file's folder, if it lies below it."""
    path, folder = osp.abspath(path), osp.abspath(folder)
    if osp.commonpath([path, folder]) == folder:
        path = osp.relpath(path, folder)
    return path.replace(os.sep, '/')
