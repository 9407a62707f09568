# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predict classes of videos: ``ca2st predict VIDEO --model ...``.

Sources are files, folders, lists (.csv, .txt) and URLs (https://...); with
--stream one camera (webcam:0), pipe (its path or -), network stream
(rtsp://...) or growing file.  A file of answers that is there is continued.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from common_flags import (
    add_cfg_options,
    add_model,
    add_prediction,
    new_parser,
    positive,
    whole,
)
from tqdm import tqdm


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = new_parser(__doc__)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='files, folders, lists or URLs',
    )
    group = parser.add_argument_group('model')
    add = group.add_argument
    add_model(group)
    add('--config', help='config file, with --checkpoint')
    add('--checkpoint', help='weights, with --config')
    add_cfg_options(group)
    add('--batch-size', type=whole, help='clips at once; 1 if left out')
    group = parser.add_argument_group('answer')
    add = group.add_argument
    add('--top-k', type=whole, default=5, help='classes of an answer')
    add(
        '--threshold',
        type=float,
        default=0.0,
        metavar='P',
        help='leave classes of less probability out; a clip without any is '
        '"unknown"',
    )
    add_prediction(group)
    add('--explain', action='store_true', help='also streams, frames, seconds')
    add(
        '--modalities',
        action='store_true',
        help='also the answers of each modality alone and without each expert',
    )
    add('--senses', action='store_true', help=argparse.SUPPRESS)
    add(
        '--json',
        metavar='OUT',
        help='write a JSON list; .jsonl and of a stream, a record a line',
    )
    add('--csv', metavar='OUT', help='write a CSV table')
    add(
        '--overwrite',
        action='store_true',
        help='begin files of answers anew instead of continuing them',
    )
    add(
        '--errors',
        choices=('return', 'raise'),
        default='return',
        help='a file that cannot be used is named and the others go on, or '
        'it ends the run',
    )
    add(
        '--annotate',
        metavar='OUT.mp4',
        help='write the one video named with its predictions on it',
    )
    add = parser.add_argument_group('long files and streams').add_argument
    add(
        '--stream',
        action='store_true',
        help='predict the one SOURCE while it comes; windows of 2 s',
    )
    add('--window', type=positive, help='seconds of a window')
    add('--stride', type=positive, help='seconds; --window if left out')
    add(
        '--events',
        metavar='OUT.csv',
        help='write stretches of windows with the same class: source, start, '
        'end, label, score',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from annotated_video import annotate, caption_of
from answer_files import (
    AnswerFile,
    explanation,
    modalities_table,
    summary,
)
from media_names import LISTS, Media, find_jobs, find_media
from named_model import load_named

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import modalities_of
from ca2st_mm.apis.prediction import (
    Failure,
    Prediction,
    Ranking,
    audio_note,
)
from ca2st_mm.apis.streaming import WEBCAM, WINDOW, predict_stream
from ca2st_mm.apis.windows import Event, Key, merge_windows
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.engine.launch import UsageError, run_or_explain

CONTAINERS = '.mp4', '.mkv', '.mov'
# Flags that answers depend on, besides the model.
SETTINGS = 'top_k threshold window stride missing_audio modalities'.split()


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, and fill in the rest.

    Raises:
        UsageError: Says which, and what to do.
    """
    if args.senses:
        print('--senses is now called --modalities', file=sys.stderr)
        args.modalities = True
    if args.model and (args.config or args.checkpoint):
        raise UsageError(
            '--model is a whole model; leave --config and --checkpoint out'
        )
    if not args.model and not (args.config and args.checkpoint):
        raise UsageError('name either --model, or --config and --checkpoint')
    if args.cfg_options and not args.config:
        raise UsageError('--cfg-options changes a --config; name one')
    cameras = [n for n in args.sources if n.startswith(WEBCAM)]
    if cameras or args.stream:
        args.stream, args.window = True, args.window or WINDOW
        if len(args.sources) > 1:
            raise UsageError(
                f'a stream goes alone; name {args.sources[0]} or another one'
            )
        if args.batch_size not in (None, 1) or args.annotate:
            raise UsageError(
                'a stream is answered window by window; leave --batch-size '
                'and --annotate out'
            )
    for flag in ('stride', 'events'):
        if getattr(args, flag) and not args.window:
            raise UsageError(f'--{flag} needs --window')
    if not 0 <= args.threshold <= 1:
        raise UsageError('--threshold is a probability, from 0 to 1')
    for path in filter(None, (args.annotate, args.events)):
        # Events of answers that are continued are those of all answers.
        answers = [p for p in (args.csv, args.json) if p and os.path.exists(p)]
        continued = path == args.events and answers and not args.stream
        if os.path.exists(path) and not (args.overwrite or continued):
            raise UsageError(f'{path} is there already; pass --overwrite')
    first, *more = args.sources
    if args.annotate and (
        more or not os.path.isfile(first) or first.endswith(LISTS)
    ):
        raise UsageError('--annotate takes one file; name a video')
    if args.annotate and not args.annotate.endswith(CONTAINERS):
        raise UsageError(f'--annotate writes {" or ".join(CONTAINERS)}')
    taken = {os.path.abspath(name) for name in args.sources}
    outputs = args.csv, args.json, args.annotate, args.events
    for path in filter(None, outputs):
        if not os.path.isdir(os.path.dirname(path) or '.'):
            raise UsageError(f'there is no folder for {path}; make it')
        if os.path.isdir(path):
            raise UsageError(f'{path} is a folder; name a file in it')
        if os.path.abspath(path) in taken:
            raise UsageError(f'{path} would be overwritten; name another file')
        taken.add(os.path.abspath(path))
    if not cameras and not any(
        '://' in name or os.path.exists(name) or (args.stream and name == '-')
        for name in args.sources
    ):
        raise UsageError(f'there is no file {first}; correct its path')


def load(args: argparse.Namespace) -> Recognizer:
    """Build the recognizer that the flags name.

    Raises:
        UsageError: If there is none, or it cannot do what the flags say.
    """
    recognizer = load_named(args)
    if args.missing_audio and recognizer.pipeline.missing_audio is None:
        raise UsageError('--missing-audio: the model does not use audio')
    if args.missing_audio == 'drop' and (why := recognizer.why_not_drop()):
        raise UsageError(f'--missing-audio drop: {why}')
    if args.modalities:
        try:
            modalities_of(recognizer.model)
        except ValueError as error:
            raise UsageError(f'--modalities: {error}') from error
    if recognizer.precision != 'float32':
        print(f'precision: {recognizer.precision}', file=sys.stderr)
    return recognizer


def show(answer: Prediction | Failure, explain: bool) -> None:
    """Print one answer."""
    if isinstance(answer, Failure):
        name = answer.source
        if answer.start is not None:
            name += f' {answer.start:.2f} to {answer.end:.2f} s'
        tqdm.write(f'{name}: {answer.reason}', file=sys.stderr)
        return
    tqdm.write(summary(answer))
    if note := audio_note(answer):
        tqdm.write(f'  {note}')
    if answer.modalities:
        tqdm.write(modalities_table(answer.modalities))
    if explain:
        tqdm.write(explanation(answer))


def stream(
    recognizer: Recognizer, args: argparse.Namespace
) -> Iterator[Prediction | Failure]:
    """The answers about the windows of a stream; a failure if it breaks."""
    [source] = args.sources
    answers = predict_stream(
        recognizer,
        source,
        args.window,
        args.stride,
        args.top_k,
        args.missing_audio,
        args.modalities,
    )
    try:
        yield from answers
    except MediaError as error:
        yield Failure(source, None, None, error.reason)


def jobs_of(
    args: argparse.Namespace, files: list[AnswerFile]
) -> tuple[Iterator, int | None]:
    """What is left to predict, and how many answers that makes."""
    media = list(find_media(args.sources, args.data_root))
    done = set.intersection(*[set(f.rankings) for f in files] or [set()])
    if done:
        print(
            f'{len(done)} answers are there already and kept; --overwrite '
            'predicts them again',
            file=sys.stderr,
        )
    jobs = find_jobs(media, args.window, args.stride, done)
    keys = [(m.path, m.start, m.end) for m in media if isinstance(m, Media)]
    total = len(media) - sum(key in done for key in keys)
    return jobs, None if args.window else total


def write_events(path: str, events: Iterable[Event]) -> None:
    """Write events as CSV, each when it comes."""
    with open(path, 'w', buffering=1, newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(Event._fields)
        writer.writerows(events)


def main() -> None:
    """Predict as the flags say; status 1 if a source failed."""
    args = parse_args()
    check(args)
    recognizer = load(args)
    if recognizer.about:
        print(recognizer.about)
    failed, outputs = False, [p for p in (args.csv, args.json) if p]
    if outputs:
        # Of hashes a few digits; they stand in every row.
        settings = {k: v[:12] for k, v in recognizer.fingerprint().items()}
        settings |= {name: getattr(args, name) for name in SETTINGS}
    with ExitStack() as stack:
        name = args.model or args.checkpoint
        options = args.overwrite, args.stream
        files = [
            stack.enter_context(AnswerFile(path, name, settings, *options))
            for path in outputs
        ]
        if args.stream:
            answers, total = stream(recognizer, args), None
        else:
            jobs, total = jobs_of(args, files)
            answers = recognizer.predict_each(
                jobs,
                args.top_k,
                args.batch_size or 1,
                args.missing_audio,
                args.modalities,
            )

        def rankings() -> Iterator[tuple[Key, Ranking]]:
            """What is answered, each shown and stored first."""
            nonlocal failed
            # The bar shows in a terminal only.
            bar = tqdm(answers, total=total, unit='clip', disable=None)
            try:
                for answer in bar:
                    bad = isinstance(answer, Failure)
                    if args.threshold and not bad:
                        answer = answer.above(args.threshold)
                    show(answer, args.explain)
                    key = answer.source, answer.start, answer.end
                    for file in files:
                        if key not in file.rankings:
                            file.write(answer)
                    failed = failed or bad
                    if bad and args.errors == 'raise':
                        raise UsageError(
                            'stopped at this file (--errors raise)'
                        )
                    yield key, () if bad else answer.best
            except KeyboardInterrupt:
                if not args.stream:
                    raise
                print('stopped; what was written is whole', file=sys.stderr)

        found = rankings()
        if not args.stream:  # which may last for days
            known = {k: v for file in files for k, v in file.rankings.items()}
            known.update(found)
            found = sorted(one for one in known.items() if None not in one[0])
        if args.events:
            several = recognizer.model.cls_head.multi_class
            write_events(args.events, merge_windows(found, several))
        for _ in found:  # what was not asked for yet
            pass
    if args.annotate:
        captions = [
            caption_of(start, end, ranking)
            for (source, start, end), ranking in known.items()
            if source == args.sources[0]
        ]
        try:
            annotate(args.sources[0], args.annotate, captions)
        except MediaError as error:
            raise UsageError(f'{args.annotate}: {error.reason}') from error
    raise SystemExit(int(failed))


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError)
