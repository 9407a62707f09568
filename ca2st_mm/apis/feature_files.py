# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of media files, one file each, with the times they stand for."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from ca2st_mm.datasets.file_jobs import Done, make_files
from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.datasets.transcode import finished_or_nothing
from ca2st_mm.utils.records import read_record, write_record

from .features import Features, extract
from .recognizer import Recognizer
from .windows import extent_of

SETTINGS = 'features.json'
LISTS = ('.csv', '.txt')
Span = tuple[float | None, float | None]


class Clip(NamedTuple):
    """What one file of features is made of.

    Attributes:
        name: Of the file to write, without extension.
        video: The media file.
        sound: Its sound file, if that is another one.
        start: First second; None for the beginning.
        end: Last second; None for the end.
    """

    name: str
    video: str
    sound: str | None = None
    start: float | None = None
    end: float | None = None


def clips_of(names: Sequence[str], root: str | None = None) -> list[Clip]:
    """The clips that files and annotation files stand for.

    Args:
        names: Media files, or manifests (``.csv``, ``.txt``).
        root: Folder that the names in manifests are relative to; None for
            that of each manifest.

    Raises:
        ValueError: If a manifest is not understood, or two clips would be
            written to one file; names them.
        FileNotFoundError: If a manifest is not there.
    """
    clips: list[Clip] = []
    for name in names:
        if name.endswith(LISTS):
            folder = Path(name).parent if root is None else Path(root)
            clips += _listed(name, folder)
        else:
            clips.append(Clip(Path(name).stem, name))
    seen: dict[str, Clip] = {}
    for clip in clips:
        other = seen.setdefault(clip.name, clip)
        if other is not clip:
            raise ValueError(
                f"the features of '{other.video}' and '{clip.video}' would "
                f"both be called '{clip.name}'; give them to two runs with "
                "different --out, or a manifest with a column 'id'"
            )
    return clips


def _listed(path: str, folder: Path) -> Iterator[Clip]:
    for row in read_annotations(path, {}):
        name = row['id'] or str(Path(row['file']).with_suffix(''))
        if row['id'] is None and (row['start'], row['end']) != (None, None):
            name = f'{name}_{row["start"] or 0:g}_{row["end"] or "end"}'
        sound = row['audio'] and str(folder / row['audio'])
        video = str(folder / row['file'])
        yield Clip(name, video, sound, row['start'], row['end'])


def whole_clip(clip: Clip) -> list[Span]:
    """One row for a clip."""
    return [(clip.start, clip.end)]


def every_second(clip: Clip) -> list[Span]:
    """A row for each second of a clip; the last one may be shorter.

    Raises:
        MediaError: If the file cannot be read.
    """
    extent = extent_of(clip.video)
    start = extent.start if clip.start is None else clip.start
    end = min(extent.end, math.inf if clip.end is None else clip.end)
    # A last row that would show no new frame is left out.
    count = max(math.ceil(end - start - extent.tick / 2), 1)
    return [(start + i, min(start + i + 1, end)) for i in range(count)]


ROWS: dict[str, Callable[[Clip], list[Span]]] = {
    'clip': whole_clip,
    'second': every_second,
}


def write_npz(
    path: str, tensors: Features, metadata: Mapping[str, str]
) -> None:
    """Write NumPy's archive; the metadata is the entry ``metadata``, JSON."""
    np.savez(path, metadata=np.array(json.dumps(metadata)), **tensors)


def write_safetensors(
    path: str, tensors: Features, metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file with its metadata."""
    save_file(tensors, path, metadata=dict(metadata))


FORMATS: dict[str, Callable[[str, Features, Mapping[str, str]], None]] = {
    'npz': write_npz,
    'safetensors': write_safetensors,
}


class FeatureWriter:
    """Writes a file of features for each clip, and goes on where it stopped.

    Every file holds what :func:`extract` returns, ``start`` and ``end``
    (rows,), float64 seconds on the file's clock, and for a model that listens
    ``has_sound`` (rows,), bool.

    Args:
        recognizer: Whose features.
        folder: Where the files go.
        per: 'clip' or 'second': what a row is.
        form: 'npz' or 'safetensors'.
        layers: Layers whose tokens are wanted.
        batch_size: How many rows go through the model at once.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        folder: str | Path,
        per: str = 'clip',
        form: str = 'npz',
        layers: Sequence[int] = (),
        batch_size: int = 8,
    ) -> None:
        self.recognizer, self.folder = recognizer, Path(folder)
        self.rows, self.form = ROWS[per], form
        self.layers, self.batch_size = tuple(layers), batch_size
        self.settings = dict(per=per, layers=list(layers))

    def claim_folder(self, model: Mapping[str, Any]) -> None:
        """Note how the files are made, or see that it was the same way.

        Args:
            model: What tells the model from another one.

        Raises:
            ValueError: If the folder holds features made another way.
        """
        settings = {**self.settings, **model}
        path = self.folder / SETTINGS
        if path.is_file():
            found = read_record(path)
            other = [k for k in settings if found.get(k) != settings[k]]
            if other:
                raise ValueError(
                    f'{self.folder} holds features of another '
                    f'{" and ".join(other)}; choose another folder'
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_record(path, settings)

    def write_all(self, clips: Sequence[Clip]) -> Iterator[Done]:
        """Write what is not there yet.

        Args:
            clips: What :func:`clips_of` found.

        Yields:
            A report for each clip; a bad file is a fault that names it.
        """
        by_target = {
            str(self.folder / f'{clip.name}.{self.form}'): clip
            for clip in clips
        }

        def make(target: str) -> None:
            self.write(by_target[target], target)

        # The model takes all cores; a second thread would only add memory.
        yield from make_files(list(by_target), make, num_workers=1)

    def write(self, clip: Clip, path: str) -> None:
        """Write the features of one clip.

        Args:
            clip: The clip.
            path: The file; it appears when it is complete.

        Raises:
            FileNotFoundError: If there is no such media file.
            SampleFault: If it cannot be used.
        """
        source = clip.video if clip.sound is None else (clip.video, clip.sound)
        if not Path(clip.video).is_file():
            raise FileNotFoundError(f"there is no file '{clip.video}'")
        spans = self.rows(clip)
        parts, heard = [], []
        for first in range(0, len(spans), self.batch_size):
            samples = [
                self.recognizer.prepare(source, *span)
                for span in spans[first : first + self.batch_size]
            ]
            parts.append(extract(self.recognizer, samples, self.layers))
            heard += [s['data_samples'].views.has_sound for s in samples]
        tensors = {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
        tensors |= _times(clip, spans)
        if None not in heard:
            tensors['has_sound'] = np.array(heard)
        with finished_or_nothing(path) as part:
            FORMATS[self.form](part, tensors, dict(source=clip.video))


def _times(clip: Clip, spans: Sequence[Span]) -> Features:
    """Start and end of every row, with open ends closed."""
    extent = extent_of(clip.video)
    starts = [extent.start if start is None else start for start, _ in spans]
    ends = [extent.end if end is None else end for _, end in spans]
    return dict(start=np.array(starts, float), end=np.array(ends, float))
