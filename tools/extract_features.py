# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of videos: of each expert, fused, and tokens of any layer.

    python tools/extract_features.py CONFIG CHECKPOINT clips/*.mp4 \
        --per second --out features
    python tools/extract_features.py CONFIG CHECKPOINT data/mine/val.csv \
        --layer 5 11 --format safetensors --out features

Each clip becomes one file with a row for the clip or for each of its
seconds.  A clip whose file is there already is skipped; a bad one is named
at the end, and the exit status is 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PER, FORMATS = ('clip', 'second'), ('npz', 'safetensors')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        'sources', nargs='+', help='media files, or manifests (.csv, .txt)'
    )
    parser.add_argument('--out', required=True, help='folder to write to')
    parser.add_argument('--per', choices=PER, default='clip')
    parser.add_argument('--format', choices=FORMATS, default='npz')
    parser.add_argument(
        '--layer',
        type=int,
        nargs='+',
        default=(),
        help='layers, from 0, whose tokens are stored as well',
    )
    parser.add_argument(
        '--data-root',
        help='folder that the files in a manifest are relative to; that of '
        'the manifest if left out',
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    if args.batch_size < 1:
        parser.error('--batch-size is at least 1')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from mmengine.config import Config
from safetensors.numpy import save_file
from tqdm import tqdm

from ca2st_mm import Recognizer, VideoAndAudio
from ca2st_mm.apis.features import Features, check_layers, extract
from ca2st_mm.apis.windows import Spans, extent_of
from ca2st_mm.datasets.file_jobs import Done, make_files
from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.datasets.transcode import finished_or_nothing
from ca2st_mm.engine.launch import run_or_explain, usable_device
from ca2st_mm.utils.hashing import sha256_of_bytes, sha256_of_tensors
from ca2st_mm.utils.records import read_record, write_record
from ca2st_mm.zoo import ZooError

SETTINGS = 'features.json'
LISTS = ('.csv', '.txt')

Span = tuple[float | None, float | None]


class Clip(NamedTuple):
    """What one file of features is made of.

    Attributes:
        name: Of the file to write, without extension.
        video: The media file.
        audio: The file of its audio, if that is another one.
        start: First second; None for the beginning.
        end: Last second; None for the end.
    """

    name: str
    video: str
    audio: str | None = None
    start: float | None = None
    end: float | None = None


def clips_of(names: Sequence[str], root: str | None = None) -> list[Clip]:
    """The clips of media files and annotation files.

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
        audio = row['audio'] and str(folder / row['audio'])
        video = str(folder / row['file'])
        yield Clip(name, video, audio, row['start'], row['end'])


def spans_of(clip: Clip, per: str) -> list[Span]:
    """The spans that the rows of a file stand for.

    Args:
        clip: The clip.
        per: 'clip': one row; 'second': one for each, the last one shorter.
    """
    if per == 'clip':
        return [(clip.start, clip.end)]
    start, end, tick = extent_of(clip.video)
    start = start if clip.start is None else clip.start
    end = end if clip.end is None else min(end, clip.end)
    count = Spans(start, 1, 1).count(end - tick)
    return [(start + i, min(start + i + 1, end)) for i in range(count)]


def write_features(
    recognizer: Recognizer,
    clips: Sequence[Clip],
    folder: str | Path,
    per: str = 'clip',
    form: str = 'npz',
    layers: Sequence[int] = (),
    batch_size: int = 8,
    model: Mapping[str, str] | None = None,
) -> Iterator[Done]:
    """Write a file of features for each clip, but for those there already.

    Every file holds what :func:`extract` returns, ``start`` and ``end``
    (rows,), float64 seconds on the file's clock, and for a model that uses
    audio ``has_audio`` (rows,), bool.

    Args:
        recognizer: The model.
        clips: Of :func:`clips_of`.
        folder: Where the files go.
        per: 'clip' or 'second': what a row is.
        form: 'npz' or 'safetensors'.
        layers: Layers whose tokens are wanted.
        batch_size: How many rows go through the model at once.
        model: What identifies the model, e.g. hashes.

    Yields:
        A report for each clip; a bad file is a fault that names it.

    Raises:
        ValueError: If the folder holds features made another way.
    """
    folder = Path(folder)
    settings = dict(per=per, layers=list(layers), **(model or {}))
    if (note := folder / SETTINGS).is_file():
        found = read_record(note)
        if other := [k for k in settings if found.get(k) != settings[k]]:
            raise ValueError(
                f'{folder} holds features of another {" and ".join(other)}; '
                'choose another folder'
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_record(note, settings)
    by_target = {str(folder / f'{clip.name}.{form}'): clip for clip in clips}

    def make(target: str) -> None:
        clip = by_target[target]
        if not os.path.isfile(clip.video):
            raise FileNotFoundError(f"there is no file '{clip.video}'")
        spans = spans_of(clip, per)
        tensors = _rows_of(recognizer, clip, spans, layers, batch_size)
        about = dict(source=clip.video)
        with finished_or_nothing(target) as part:
            if form == 'safetensors':
                save_file(tensors, part, metadata=about)
            else:
                # NumPy's archive has no metadata; it is an entry, JSON.
                np.savez(part, metadata=np.array(json.dumps(about)), **tensors)

    # The model takes all cores; a second thread would only add memory.
    yield from make_files(list(by_target), make, num_workers=1)


def _rows_of(
    recognizer: Recognizer,
    clip: Clip,
    spans: Sequence[Span],
    layers: Sequence[int],
    batch_size: int,
) -> Features:
    """Features of a clip, with a row for each span."""
    source = clip.video
    if clip.audio is not None:
        source = VideoAndAudio(clip.video, clip.audio)
    parts, has_audio = [], []
    for first in range(0, len(spans), batch_size):
        samples = [
            recognizer.prepare(source, *span)
            for span in spans[first : first + batch_size]
        ]
        parts.append(extract(recognizer, samples, layers))
        has_audio += [s['data_samples'].views.has_audio for s in samples]
    rows = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    # Open ends are those of the file.
    extent = extent_of(clip.video)
    starts = [extent.start if start is None else start for start, _ in spans]
    ends = [extent.end if end is None else end for _, end in spans]
    rows['start'] = np.array(starts, float)
    rows['end'] = np.array(ends, float)
    if None not in has_audio:
        rows['has_audio'] = np.array(has_audio)
    return rows


def main() -> None:
    """Write all features, then say what went wrong."""
    args = parse_args()
    device = usable_device(args.device)
    clips = clips_of(args.sources, args.data_root)
    config = Config.fromfile(args.config)
    recognizer = Recognizer.from_config(config, args.checkpoint, device)
    check_layers(recognizer.model.backbone, args.layer)
    reports = write_features(
        recognizer,
        clips,
        args.out,
        args.per,
        args.format,
        args.layer,
        args.batch_size,
        dict(
            config=sha256_of_bytes(config.pretty_text.encode()),
            weights=sha256_of_tensors(recognizer.model.state_dict()),
        ),
    )
    faults, skipped = [], 0
    for done in tqdm(reports, total=len(clips), unit='clip'):
        skipped += done.skipped
        if done.fault:
            faults.append(done.fault)
    made = len(clips) - skipped - len(faults)
    print(f'{made} made, {skipped} there before, {len(faults)} failed')
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == '__main__':
    run_or_explain(main, (FileNotFoundError, ValueError, ZooError))
