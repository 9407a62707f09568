# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Prepare a benchmark: annotation files and media in, manifests out."""

import os
import os.path as osp
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..containers import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS
from .annotations import (
    Annotations,
    Benchmark,
    LeftOut,
)
from .class_names import class_names
from .manifests import (
    MediaFiles,
    manifest_rows,
    write_left_out,
    write_manifest,
)
from .media_index import MediaIndex
from .reading import Say, find_lists, read_split
from .source import BenchmarkError


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Attributes:
        annotations: Folder of the annotation files.
        videos: Folder of the videos.
        out: Folder for the manifests, the ``data_root`` of configs.
        audio_root: Folder of sound files, if sound is not in the videos.
        lists: Split -> annotation file, in place of the usual ones.
        splits: Splits to prepare; empty for all there are.
        classes: File with class names in the order of the labels.
        trimmed: Whether each clip is a file of its own.
        with_sound: Leave out clips without a sound track.
        keep_missing: Keep clips without a file.
        allow_partial: Accept lists that are not complete.
    """

    annotations: str
    videos: str
    out: str
    audio_root: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    classes: str | None = None
    trimmed: bool = True
    with_sound: bool = False
    keep_missing: bool = False
    allow_partial: bool = False


def prepare(
    benchmark: Benchmark, request: Request, say: Say = print
) -> list[str]:
    """Write ``<split>.csv``, ``<split>_missing.csv`` and class names.

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
    names = class_names(benchmark, request.classes)
    lists = find_lists(
        benchmark, request.annotations, request.lists, request.splits, say
    )
    splits = {
        split: read_split(
            benchmark, path, split, names, request.allow_partial, say
        )
        for split, path in lists.items()
    }
    outputs = {s: osp.join(request.out, f'{s}.csv') for s in splits}
    _guard_inputs(lists, outputs)
    files = _media_files(request)
    os.makedirs(request.out, exist_ok=True)
    _write_class_names(request.out, names, say)
    for split, annotations in splits.items():
        _write_split(outputs[split], annotations, names, files, split, say)
    return list(outputs.values())


def _guard_inputs(
    lists: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    """Never write over the user's annotation files."""
    inputs = {osp.realpath(path) for path in lists.values()}
    for path in outputs.values():
        if osp.realpath(path) in inputs:
            raise BenchmarkError(
                f"The manifest would overwrite the annotation file '{path}'; "
                'keep annotations in a folder of their own.'
            )


def _media_files(request: Request) -> MediaFiles:
    audio = request.audio_root
    return MediaFiles(
        videos=MediaIndex(request.videos, VIDEO_EXTENSIONS),
        audio=MediaIndex(audio, AUDIO_EXTENSIONS) if audio else None,
        trimmed=request.trimmed,
        with_sound=request.with_sound,
        keep_missing=request.keep_missing,
    )


def _write_class_names(
    folder: str, names: Mapping[str, list[str]], say: Say
) -> None:
    for column, values in names.items():
        tail = '' if column == 'label' else f'_{column}'
        path = osp.join(folder, f'classes{tail}.txt')
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(f'{value}\n' for value in values)
        say(f"{len(values)} class names, as published, in '{path}'")


def _write_split(
    path: str,
    annotations: Annotations,
    names: Mapping[str, list[str]],
    files: MediaFiles,
    split: str,
    say: Say,
) -> None:
    """Write manifest and list of one split, and say what is in them."""
    clips = annotations.clips
    rows, missing = manifest_rows(clips, list(names), files, split)
    found = len(clips) - len(missing)
    say(f'{split}: found {found:,} of {len(clips):,}')
    left_out = [*annotations.left_out, *missing]
    _report(path, left_out, split, say)
    if not rows:
        raise BenchmarkError(
            f'{split}: not one of {len(clips):,} clips was found below '
            f"'{files.videos.root}' (looked for {clips[0].names[0]!r}, for "
            'example); check --videos, or write the manifest all the same '
            'with --keep-missing.'
        )
    write_manifest(path, rows)
    kept = len(rows) - found
    more = f', {kept:,} of them without a file' if kept else ''
    say(f"{split}: {len(rows):,} clips in '{path}'{more}")
    if not clips[0].labels:
        say(f'{split}: no labels; for submissions alone')


def _report(
    manifest: str, left_out: list[LeftOut], split: str, say: Say
) -> None:
    # Written even if empty: an older list would tell a wrong story.
    path = manifest.removesuffix('.csv') + '_missing.csv'
    write_left_out(path, left_out)
    reasons = [clip.reason for clip in left_out]
    for reason in dict.fromkeys(reasons):
        say(f"{split}: {reasons.count(reason):,} in '{path}': {reason}")
