# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Name what happens in videos: ``python tools/predict.py VIDEO --model ...``.

Sources are files, folders, addresses (https://...), a webcam (webcam:0), or
a file read as if it were a camera (camera:FILE).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from tqdm import tqdm

from ca2st_mm import Recognizer
from ca2st_mm.apis.camera import camera_jobs, is_camera
from ca2st_mm.apis.jobs import find_jobs
from ca2st_mm.apis.many import Failure, predict_each
from ca2st_mm.apis.model_parts import parts_of
from ca2st_mm.apis.predicted_senses import classify_with_senses
from ca2st_mm.apis.prediction import Prediction
from ca2st_mm.apis.tables import (
    csv_table,
    explanation,
    json_list,
    senses_table,
    summary,
)
from ca2st_mm.apis.windows import check_lengths
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.engine.launch import (
    UsageError,
    run_or_explain,
    usable_device,
)
from ca2st_mm.visualization.annotated_video import annotate, caption_of
from ca2st_mm.zoo import ZooError

CAMERA_WINDOW = 2.0
CONTAINERS = '.mp4', '.mkv', '.mov'
NO_SOUND = dict(
    silence='the model heard silence',
    drop='the model went without its audio expert',
)


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('sources', nargs='+', metavar='SOURCE')
    model = parser.add_argument_group('model')
    model.add_argument(
        '--model',
        help='name of a model of the zoo, or a checkpoint with its config',
    )
    model.add_argument('--config', help='config file, with --checkpoint')
    model.add_argument('--checkpoint', help='weights, with --config')
    model.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='changes to --config, as key.subkey=value ...',
    )
    model.add_argument('--device', help='e.g. cpu, cuda; default: the best')
    model.add_argument('--batch-size', type=positive, default=1)
    answer = parser.add_argument_group('answer')
    answer.add_argument('--top-k', type=positive, default=5)
    answer.add_argument(
        '--explain',
        action='store_true',
        help='also print which frames and seconds were used',
    )
    answer.add_argument(
        '--senses',
        action='store_true',
        help='also ask sound, picture and all but one expert alone',
    )
    answer.add_argument('--json', metavar='OUT', help='write a JSON list')
    answer.add_argument('--csv', metavar='OUT', help='write a CSV table')
    answer.add_argument(
        '--annotate',
        metavar='OUT.mp4',
        help='write the one video named with its predictions on it',
    )
    long = parser.add_argument_group('long files and cameras')
    long.add_argument('--window', type=float, help='seconds of a window')
    long.add_argument(
        '--stride',
        type=float,
        help='seconds from one window to the next; default: --window',
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{value} is below 1')
    return value


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, and fill in the rest.

    Raises:
        UsageError: Says which, and the cure.
    """
    if bool(args.model) == bool(args.config and args.checkpoint):
        raise UsageError('name either --model, or --config and --checkpoint')
    if args.cfg_options and not args.config:
        raise UsageError('--cfg-options changes a --config; name one')
    check_lengths_of(args)
    alone = len(args.sources) == 1 and os.path.isfile(args.sources[0])
    if args.annotate and not alone:
        raise UsageError('--annotate takes one file; name one that is there')
    if args.annotate and not args.annotate.endswith(CONTAINERS):
        raise UsageError(f'--annotate writes {" or ".join(CONTAINERS)}')
    for path in filter(None, (args.csv, args.json)):
        if not os.path.isdir(os.path.dirname(path) or '.'):
            raise UsageError(f'the folder of {path} is not there; make it')


def check_lengths_of(args: argparse.Namespace) -> None:
    """Check and fill in --window and --stride.

    Raises:
        UsageError: If they do not fit.
    """
    cameras = [name for name in args.sources if is_camera(name)]
    if cameras and len(args.sources) > 1:
        raise UsageError(f'{cameras[0]} goes alone; leave the others out')
    if cameras:
        args.window = args.window or CAMERA_WINDOW
        # Every answer is wanted as soon as it can be had.
        args.batch_size = 1
    elif args.stride and not args.window:
        raise UsageError('--stride needs --window')
    args.stride = args.stride or args.window
    if args.window is not None:
        try:
            check_lengths(args.window, args.stride)
        except ValueError as error:
            raise UsageError(str(error)) from error


def load(args: argparse.Namespace) -> Recognizer:
    """Build the recognizer that the flags name.

    Raises:
        UsageError: If there is none.
    """
    device = usable_device(args.device or get_device())
    if args.config and not os.path.isfile(args.config):
        raise UsageError(f'there is no config file {args.config}')
    try:
        if args.model:
            return Recognizer.from_pretrained(args.model, device)
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options)
        return Recognizer.from_config(cfg, args.checkpoint, device)
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def check_senses(recognizer: Recognizer) -> None:
    """Refuse --senses for a model that has only one.

    Raises:
        UsageError: Says so.
    """
    try:
        parts_of(recognizer.model)
    except ValueError as error:
        raise UsageError(f'--senses: {error}') from error


def answers(
    recognizer: Recognizer, args: argparse.Namespace, folder: str
) -> Iterator[Prediction | Failure]:
    """Predict all sources, under a progress bar in a terminal."""
    options = dict(
        top_k=args.top_k,
        batch_size=args.batch_size,
        classify=classify_with_senses if args.senses else Recognizer.classify,
    )
    if is_camera(args.sources[0]):
        [name] = args.sources
        try:
            jobs = camera_jobs(name, args.window, args.stride)
            yield from predict_each(recognizer, jobs, **options)
        except MediaError as error:
            yield Failure(name, None, None, error.reason)
        return
    found = find_jobs(args.sources, folder, args.window, args.stride)
    yield from found.failures
    # No bar where nobody watches.
    with tqdm(total=len(found), unit='clip', disable=None) as bar:
        for answer in predict_each(recognizer, found, **options):
            bar.update()
            yield answer


def show(
    answer: Prediction | Failure, recognizer: Recognizer, explain: bool
) -> None:
    """Print one answer."""
    if isinstance(answer, Failure):
        tqdm.write(f'{named(answer)}: {answer.reason}', file=sys.stderr)
        return
    tqdm.write(summary(answer))
    if answer.views.has_sound is False:
        policy = recognizer.pipeline.missing_sound
        tqdm.write(
            f'  it has no sound: {NO_SOUND[policy]} '
            f'(LoadAudio(missing={policy!r}) in the config)'
        )
    if answer.senses:
        tqdm.write(senses_table(answer.senses))
    if explain:
        tqdm.write(explanation(answer.views))


def named(failure: Failure) -> str:
    """The source and, where it is a span, its seconds."""
    if failure.start is None:
        return failure.source
    return f'{failure.source} {failure.start:.2f} to {failure.end:.2f} s'


def main() -> None:
    """Predict as the flags say; status 1 if a source failed."""
    args = parse_args()
    check(args)
    recognizer = load(args)
    if args.senses:
        check_senses(recognizer)
    failed, captions = False, []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        writers = (csv_table, args.csv), (json_list, args.json)
        tables = [
            stack.enter_context(make(path)) for make, path in writers if path
        ]
        for answer in answers(recognizer, args, folder):
            show(answer, recognizer, args.explain)
            for table in tables:
                table.write(answer)
            failed = failed or isinstance(answer, Failure)
            if args.annotate:
                captions.append(caption_of(answer))
    if args.annotate:
        try:
            annotate(args.sources[0], args.annotate, captions)
        except MediaError as error:
            raise UsageError(f'{args.annotate}: {error.reason}') from error
    raise SystemExit(int(failed))


if __name__ == '__main__':
    run_or_explain(main, (UsageError, ZooError))
