# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of videos: of each expert, fused, and tokens of any layer.

    ca2st features CONFIG CHECKPOINT clips/*.mp4 \\
        --per second --out features
    ca2st features --model work_dirs/mine data/mine \\
        --layer 6 12 --format safetensors --out features

The model is CONFIG CHECKPOINT or, as for predict, --model.  A folder gives
its videos at any depth, a list (.csv, .txt) its clips.  Each clip becomes one
file with a row for the clip or for each of its seconds, called as the clip;
where x.mp4 and x.avi clash, x.mp4.npz and x.avi.npz.  A clip whose file is
there already is skipped; a bad one is named at the end, and the exit status
is 1.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

from common_flags import add_model, add_prediction, new_parser, whole

PER, FORMATS = ('clip', 'second'), ('npz', 'safetensors')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='media files, folders, or lists of clips; without --model, '
        'CONFIG and CHECKPOINT come first',
    )
    add_model(parser)
    add('--out', required=True, help='folder to write to')
    add('--per', choices=PER, default='clip', help='what a row stands for')
    add('--format', choices=FORMATS, default='npz', help='of the files')
    add(
        '--layer',
        type=whole,
        nargs='+',
        default=(),
        help='layers, from 1, whose tokens are stored as well',
    )
    add_prediction(parser)
    add('--batch-size', type=whole, default=8, help='rows at once')
    args = parser.parse_args()
    args.config = args.checkpoint = None
    if not args.model:
        if len(args.sources) < 3:
            parser.error('name CONFIG CHECKPOINT SOURCE, or --model SOURCE')
        args.config, args.checkpoint, *args.sources = args.sources
    elif args.sources[0].endswith('.py'):
        parser.error('--model is a whole model; leave CONFIG CHECKPOINT out')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from media_names import Media, find_media
from named_model import load_named
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from ca2st_mm import Recognizer, VideoAndAudio
from ca2st_mm.apis.features import Features, check_layers, extract
from ca2st_mm.apis.prediction import Failure
from ca2st_mm.apis.windows import extent_of, windows_of
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.files import written_whole
from ca2st_mm.utils.text_files import read_record, write_record

SETTINGS = 'features.json'
NO_FEATURES = EOFError, KeyError, TypeError, ValueError

Span = tuple[float | None, float | None]


def clips_of(
    names: Sequence[str], root: str | None = None
) -> tuple[list[Media], list[Failure]]:
    """The clips of files, folders and lists, and names that mean none.

    Names that clash get the extensions of their files.  ``root`` is the folder
    that paths in lists are relative to; None for that of each list.

    Raises:
        ValueError: If a list is not understood.
        FileNotFoundError: If a list is not there.
    """
    found = list(find_media(names, root))
    failures = [one for one in found if isinstance(one, Failure)]
    clips = dict.fromkeys(one for one in found if isinstance(one, Media))
    count = Counter(clip.name for clip in clips)
    taken: dict[str, Media] = {}
    for clip in clips:
        name = clip.name
        if count[name] > 1:
            name += Path(clip.path).suffix
        renamed = clip._replace(name=name)
        other = taken.setdefault(name, renamed)
        if other is not renamed:
            reason = (
                f"its features would be called '{name}', as those of "
                f"'{other.path}'; give it to another run with another --out, "
                "or an annotation file with a column 'id'"
            )
            failures.append(Failure(clip.path, clip.start, clip.end, reason))
    return list(taken.values()), failures


def spans_of(clip: Media, per: str) -> list[Span]:
    """The spans of the rows of a file; the last second is shorter."""
    span = clip.start, clip.end
    if per == 'clip':
        return [span]
    windows = windows_of(clip.path, 1, 1, span=span)
    return [(job.shown['start'], job.shown['end']) for job in windows]


def write_features(
    recognizer: Recognizer,
    clips: Sequence[Media],
    folder: str | Path,
    per: str = 'clip',
    form: str = 'npz',
    layers: Sequence[int] = (),
    batch_size: int = 8,
    model: Mapping[str, str] | None = None,
    missing_audio: str | None = None,
) -> Iterator[str | None]:
    """Write a file of features for each clip, but for those there already.

    Every file holds what :func:`extract` returns, ``start`` and ``end``
    (rows,), float64 seconds on the file's clock, and for a model that uses
    audio ``has_audio`` (rows,), bool.

    ``model`` identifies the model, e.g. by hashes.

    Yields:
        For each clip None if its features were there already, else what is
        wrong with it; empty if nothing is.

    Raises:
        ValueError: If the folder holds features made another way.
    """
    folder = Path(folder)
    settings = dict(per=per, layers_from_1=list(layers), **(model or {}))
    if missing_audio:
        settings['missing_audio'] = missing_audio
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
    for clip in clips:
        target = folder / f'{clip.name}.{form}'
        try:
            if target.exists():
                yield why_not_kept(target, clip)
                continue
            if not os.path.isfile(clip.path):
                raise FileNotFoundError(f"there is no file '{clip.path}'")
            spans = spans_of(clip, per)
            tensors = _rows_of(
                recognizer, clip, spans, layers, batch_size, missing_audio
            )
            size = str(os.path.getsize(clip.path))
            _save(target, tensors, dict(source=clip.path, bytes=size))
        except (SampleFault, OSError) as fault:
            yield str(fault)
        else:
            yield ''


def why_not_kept(target: Path, clip: Media) -> str | None:
    """What is wrong with the features that are there; None if nothing is.

    They are of this clip if they name its file, or one of its size: the file
    may have moved.
    """
    try:
        if target.suffix == '.safetensors':
            with safe_open(target, 'numpy') as stored:
                about = stored.metadata()
        else:
            with np.load(target) as stored:
                about = json.loads(str(stored['metadata']))
        if about['source'] == clip.path:
            return None
        size = os.path.getsize(clip.path)
    except (*NO_FEATURES, BadZipFile, SafetensorError):
        return f"'{target}' holds no features; move it away"
    if about.get('bytes') == str(size):
        return None
    return (
        f"'{target}' holds features of another file, '{about['source']}'; "
        f"give '{clip.path}' to another run with another --out"
    )


def _save(target: Path, tensors: Features, about: dict[str, str]) -> None:
    with written_whole(target) as part:
        if target.suffix == '.safetensors':
            save_file(tensors, part, metadata=about)
        else:
            # NumPy's archive has no metadata; it is an entry, JSON.
            np.savez(part, metadata=np.array(json.dumps(about)), **tensors)


def _rows_of(
    recognizer: Recognizer,
    clip: Media,
    spans: Sequence[Span],
    layers: Sequence[int],
    batch_size: int,
    missing_audio: str | None,
) -> Features:
    """Features of a clip, with a row for each span."""
    source = clip.path
    if clip.audio is not None:
        source = VideoAndAudio(clip.path, clip.audio)
    parts, has_audio = [], []
    for first in range(0, len(spans), batch_size):
        samples = [
            recognizer.prepare(source, *span, missing_audio)
            for span in spans[first : first + batch_size]
        ]
        parts.append(extract(recognizer, samples, layers))
        has_audio += [s['data_samples'].views.has_audio for s in samples]
    rows = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    # Open ends are those of the file.
    extent = extent_of(clip.path)
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
    clips, failures = clips_of(args.sources, args.data_root)
    recognizer = load_named(args)
    check_layers(recognizer.model.backbone, args.layer)
    reports = write_features(
        recognizer,
        clips,
        args.out,
        args.per,
        args.format,
        args.layer,
        args.batch_size,
        recognizer.fingerprint(),
        args.missing_audio,
    )
    faults, skipped = [f'{f.source}: {f.reason}' for f in failures], 0
    for fault in tqdm(reports, total=len(clips), unit='clip', disable=None):
        skipped += fault is None
        if fault:
            faults.append(fault)
    made = len(clips) + len(failures) - skipped - len(faults)
    print(f'{made} made, {skipped} there before, {len(faults)} failed')
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, ValueError)
