# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Does audio help?  Modality contributions of a model over a data set.

    ca2st report modality-report CONFIG CHECKPOINT

runs every clip with every coalition of experts, and with the audio of
another clip.  It prints accuracy and calibration of each, contributions that
add up (Shapley values), and a paired test of whether each modality helps; it
writes all that, also by class, as JSON, each clip as CSV, and a figure.
`docs/does_audio_help.md` says what the numbers mean.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from reports import clips_parser, table


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add(
        '--ann-file',
        '--manifest',  # as it was called
        nargs='+',
        help="annotation files in the config's test data folder, each a data "
        "set of its own; the config's test file if left out",
    )
    add(
        '--calibrate',
        metavar='ANN_FILE',
        help='fit a temperature on this annotation file, which is for '
        'validation, divide the logits by it, and write that model into '
        'the folder OUT_calibrated, which every command takes',
    )
    add(
        '--against',
        metavar='DUMP.pkl',
        help='scores of another model, such as one trained without audio, by '
        'tools/test.py --dump on the same annotation file: test both, too',
    )
    args = parser.parse_args()
    ann_files = args.ann_file or ()
    if args.against and len(ann_files) > 1:
        parser.error('--against takes one --ann-file')
    if len({Path(name).stem for name in ann_files}) < len(ann_files):
        parser.error(
            '--ann-file: outputs are named after these files, so their names '
            'must differ'
        )
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
import torch
from clip_reports import (
    OTHER_AUDIO,
    begun_record,
    clips_of,
    facts_of,
    listed_clips,
    name_bad_clips,
    outputs_of,
    with_other_audio,
)
from modality_statistics import (
    calibration,
    coalition_name,
    fit_temperature,
    modality_report,
    paired_test,
    summary,
)
from named_model import load_named
from result_files import Scores, check_same_clips, read_scores
from torch import Tensor

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import (
    Coalition,
    contributions_of,
    lacks_audio,
    modalities_of,
    of_groups,
    shapley_values,
)
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.text_files import write_record
from ca2st_mm.visualization.style import (
    GREY,
    INK,
    FigureInputError,
    colour_of,
    new_figure,
    save,
    tidy,
)

WITHOUT_AUDIO = 'clips without audio'
_MAX_CLASSES = 24  # of the figure


class Answers(NamedTuple):
    """What a model says of the clips of a data set, for one task."""

    clips: np.ndarray  # number of each clip in the data set, (num_clips,)
    names: list[str]  # file name of each clip with its id or span
    files: list[str]
    labels: np.ndarray
    has_audio: np.ndarray  # all, if the model uses none
    # Logarithms of the probabilities (num_clips, num_classes), by coalition of
    # experts; and of all with the audio of another clip, NaN without one.
    logs: dict[Coalition, np.ndarray]
    shuffled: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """What all experts say."""
        return self.logs[max(self.logs, key=len)]


def survey(
    recognizer: Recognizer,
    samples: Iterable[tuple[int, Mapping]],
    batch_size: int = 8,
) -> tuple[dict[str, Answers], bool]:
    """Answers of every coalition for every clip, and with other audio.

    Each clip is run once more with the audio of the clip with audio before
    it, so that only a batch is in memory; give the clips (numbers in the
    data set, and packed samples with labels) in random order: Ctrl-C ends
    with the answers for a part of them.

    Returns:
        By task, empty without clips; and whether it was stopped.

    Raises:
        ValueError: If the model has a single expert.
    """
    uses_audio = 'audio' in modalities_of(recognizer.model)
    samples, previous, stopped = iter(samples), None, False
    rows: list[tuple] = []
    try:
        while batch := list(islice(samples, batch_size)):
            packed = [sample for _, sample in batch]
            answers = contributions_of(recognizer, packed)
            other: list[dict | None] = [None] * len(packed)
            if uses_audio:
                other, previous = with_other_audio(
                    recognizer, packed, previous
                )
            for (number, sample), answer, mixed in zip(
                batch, answers, other, strict=True
            ):
                data, heard = sample['data_samples'], not lacks_audio(sample)
                has_audio = heard or not uses_audio
                rows.append((number, data, answer.answers, mixed, has_audio))
    except KeyboardInterrupt:
        stopped = True
    if not rows:
        return {}, stopped
    clips, data, answers, shuffled, has_audio = zip(*rows, strict=True)
    found = {}
    for column, (task, names) in enumerate(recognizer.class_names.items()):
        missing = torch.full((len(names),), torch.nan)
        found[task] = Answers(
            np.array(clips),
            [one.get('clip') for one in data],
            [one.get('filename') for one in data],
            np.array([one.gt_label.tolist()[column] for one in data]),
            np.array(has_audio),
            {c: _logs([a[c][task] for a in answers]) for c in answers[0]},
            _logs([s[task] if s else missing for s in shuffled]),
        )
    return found, stopped


def _logs(scores: Sequence[Tensor]) -> np.ndarray:
    probabilities = torch.stack(list(scores)).double().numpy()
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))


def calibrate(
    recognizer: Recognizer,
    samples: Iterable[tuple[int, Mapping]],
    batch_size: int,
) -> dict[str, float]:
    """Divide the logits of a model by the temperature fitted on clips.

    Logits are linear in the classifier, so its weights are divided: whatever
    loads them answers with calibrated probabilities.

    Returns:
        The temperature by task.

    Raises:
        ValueError: If there are no clips.
    """
    views: dict[str, list[np.ndarray]] = {}
    labels, samples = [], iter(samples)
    while batch := [sample for _, sample in islice(samples, batch_size)]:
        labels += [s['data_samples'].gt_label.tolist() for s in batch]
        for task, logits in recognizer.logits(batch).items():
            views.setdefault(task, []).append(logits.double().cpu().numpy())
    if not views:
        raise ValueError('--calibrate: none of its clips can be read')
    found, head = {}, recognizer.model.cls_head
    for column, (task, batches) in enumerate(views.items()):
        logits = np.concatenate(batches)
        if head.average_clips != 'prob':
            logits = logits.mean(axis=1, keepdims=True)
        true = np.array(labels)[:, column]
        found[task] = fit_temperature(logits, true)
        if not 0.051 < found[task] < 19.9:
            right = (logits.mean(axis=1).argmax(axis=1) == true).mean()
            print(
                f'--calibrate: no temperature fits a model that is right on '
                f'{100 * right:.0f} % of {len(true)} clips ({task}); take '
                'more clips, harder ones or a trained model',
                file=sys.stderr,
            )
        name = 'fc_cls' if task == 'label' else f'fc_{task}'
        for parameter in getattr(head, name).parameters():
            parameter.data /= found[task]
    return found


def report(
    recognizer: Recognizer,
    task: str,
    answers: Answers,
    other: Scores | None,
    stem: str,
) -> dict:
    """The numbers of one task of one data set; clips and scores as files."""
    modalities = modalities_of(recognizer.model)
    names, labels = recognizer.class_names[task], answers.labels
    found = modality_report(answers.logs, labels, modalities, names)
    controls = {
        OTHER_AUDIO: (answers.shuffled, ~np.isnan(answers.shuffled[:, 0])),
        WITHOUT_AUDIO: (answers.whole, ~answers.has_audio),
    }
    found['controls'] = {}
    for name, (logs, chosen) in controls.items():
        if chosen.any():
            logs, true = logs[chosen], labels[chosen]
            found['controls'][name] = dict(
                clips=int(chosen.sum()),
                **summary(logs, true),
                calibration=calibration(np.exp(logs), true),
            )
    if other:
        found['against'] = against(other, answers, task)
    write_clips(answers, modalities, names, f'{stem}.csv')
    alone = {
        name: answers.logs[frozenset(m)] for name, m in modalities.items()
    }
    np.savez(
        f'{stem}.npz',
        clips=answers.names,
        files=answers.files,
        all=answers.whole,
        **alone,
    )
    return found


def other_scores(path: str, recognizer: Recognizer, ann_file: str) -> Scores:
    """Scores of another model for the clips of an annotation file.

    Raises:
        FigureInputError: If they are of other clips or labels.
    """
    theirs, listed = read_scores(path), listed_clips(recognizer, ann_file)
    tasks = [[*theirs.scores], [*recognizer.class_names]]
    if theirs.total != len(listed) or tasks[0] != tasks[1]:
        raise FigureInputError(
            f'{path} holds {theirs.total} clips with {" and ".join(tasks[0])},'
            f' {ann_file} {len(listed)} with {" and ".join(tasks[1])}; test '
            'that model on the same annotation file'
        )
    infos = [listed.get_data_info(clip) for clip in theirs.clips]
    ids = [info.get('clip_id') for info in infos]
    labels = np.array([np.ravel(info['label']) for info in infos]).T
    ours = replace(
        theirs,
        path=ann_file,
        files=[info['filename'] for info in infos],
        ids=None if None in ids else ids,
        labels=dict(zip(theirs.labels, labels, strict=True)),
    )
    check_same_clips(ours, theirs)
    return theirs


def against(theirs: Scores, answers: Answers, task: str) -> dict[str, Any]:
    """The paired test of all experts against another model."""
    shared, a, b = np.intersect1d(
        answers.clips, theirs.clips, return_indices=True
    )
    if not len(shared):
        raise FigureInputError(f'{theirs.path}: no clip that both could read')
    ours = answers.whole.argmax(axis=1) == answers.labels
    right = theirs.hits(task)
    return dict(path=theirs.path, **paired_test(ours[a], right[b]))


def show(
    title: str, found: Mapping[str, Any], modalities: Mapping, path: str
) -> None:
    """Print and draw the numbers of one task of one data set."""
    known = {coalition_name(frozenset(m)): n for n, m in modalities.items()}
    rows = {}
    for name, row in found['coalitions'].items():
        modality = known.get(name, name)
        rows[name if modality == name else f'{name} ({modality})'] = row
    title = f'{title}, {found["clips"]} clips'
    print(f'\n{title}\n')
    print_tables({**rows, **found['controls']}, found)
    draw(title, rows, found, path)
    print(f'figure: {path}')


def points(value: float, sign: str = '+') -> str:
    """A share in per cent."""
    return f'{100 * value:{sign}.1f}'


def print_tables(rows: Mapping[str, dict], found: Mapping[str, Any]) -> None:
    """Print what is known of all clips."""
    tables = [
        [
            {
                '': name,
                'top-1, %': points(row['top1'], ''),
                'true class, %': points(row['probability'], ''),
                'ECE': f'{row["calibration"]["error"]:.3f}',
            }
            for name, row in rows.items()
        ]
    ]
    for players in found['shapley'].values():
        values = {
            key: {**of, 'sum': sum(of.values())} for key, of in players.items()
        }
        tables.append(
            [
                {
                    'contribution': name,
                    'top-1, points': points(top1),
                    'true class, points': points(values['probability'][name]),
                    'logit': f'{values["logit"][name]:+.2f}',
                }
                for name, top1 in values['top1'].items()
            ]
        )
    tests = {f'{name} helps': test for name, test in found['helps'].items()}
    if 'against' in found:
        tests[f'against {found["against"]["path"]}'] = found['against']
    tables.append(
        [
            {
                '': name,
                'points': points(test['difference']),
                '95 %': f'{points(test["low"])} to {points(test["high"])}',
                'gained': test['gained'],
                'lost': test['lost'],
                'p': f'{test["p_value"]:.2g}',
            }
            for name, test in tests.items()
        ]
    )
    tables.append(
        [
            {'%': points(share, ''), 'of the clips': name}
            for name, share in found['confusion'].items()
        ]
    )
    print('\n\n'.join(map(table, tables)))
    for name in found['helps']:
        tests = [c['helps'][name] for c in found['classes'].values()]
        sure = [t['difference'] for t in tests if t['q_value'] < 0.05]
        print(
            f'{name}: helps {sum(d > 0 for d in sure)} classes, degrades '
            f'{sum(d < 0 for d in sure)}, of {len(tests) - len(sure)} it is '
            'not known (false discovery rate 5 %)'
        )


def draw(
    title: str, rows: Mapping[str, dict], found: Mapping[str, Any], path: str
) -> None:
    """Draw accuracy, calibration, contributions and the effect by class."""
    modalities = list(found['helps'])
    colours = {n: colour_of(i) for i, n in enumerate(modalities)}
    whole = list(rows)[-1]

    def colour(row: str) -> str:
        names = (n for n in modalities if row == n or row.endswith(f'({n})'))
        return INK if row == whole else colours.get(next(names, ''), GREY)

    name = 'audio' if 'audio' in modalities else modalities[0]
    tests = {n: c['helps'][name] for n, c in found['classes'].items()}
    order = sorted(tests, key=lambda n: tests[n]['difference'])
    if len(order) > _MAX_CLASSES:
        half = _MAX_CLASSES // 2
        order = order[:half] + order[-half:]
    figure = new_figure(13, 5 + 0.25 * max(len(rows), len(order)))
    figure.suptitle(title)
    (top, right), (left, bottom) = figure.subplots(2, 2)

    bars = {**rows, **found['controls']}
    tops = [100 * row['top1'] for row in bars.values()]
    drawn = top.barh(list(bars), tops, color=[colour(row) for row in bars])
    top.bar_label(drawn, [f'{value:.1f}' for value in tops], padding=3)
    top.invert_yaxis()
    tidy(top, 'top-1, %').set_xlim(0, 112)

    right.plot([0, 1], [0, 1], '--', color=GREY)
    for row, values in rows.items():
        if colour(row) != GREY:
            diagram = values['calibration']
            right.plot(
                diagram['confidence'],
                diagram['accuracy'],
                'o-',
                color=colour(row),
                label=f'{row}: ECE {diagram["error"]:.3f}',
            )
    right.legend(frameon=False, fontsize=8)
    tidy(right, 'mean confidence of the clips in a bin', 'share correct')

    values = found['shapley']['modalities']['top1']
    base = found['coalitions']['nothing']['top1']
    steps = 100 * np.array([base, *values.values()])
    ends = steps.cumsum()
    drawn = left.barh(
        ['nothing', *values, 'all'],
        [*steps, ends[-1]],
        left=[*(ends - steps), 0],
        color=[GREY, *(colours[name] for name in values), INK],
    )
    gains = [f'{step:+.1f}' for step in steps[1:]]
    texts = [f'{steps[0]:.1f}', *gains, f'{ends[-1]:.1f}']
    left.bar_label(drawn, texts, padding=3)
    left.invert_yaxis()
    tidy(left, 'contributions to top-1 (Shapley values), points')
    left.set_xlim(0, 112)

    shown = [tests[of_class] for of_class in order]
    low, high, difference = (
        [100 * test[key] for test in shown]
        for key in ('low', 'high', 'difference')
    )
    sure = [colours[name] if t['q_value'] < 0.05 else GREY for t in shown]
    bottom.hlines(order, low, high, colors=sure)
    bottom.plot(difference, order, 'o', color=INK, ms=4)
    bottom.axvline(0, color=INK, lw=0.8)
    tidy(bottom, f'{name} changes top-1 by, points (95 % interval)')
    save(figure, path)


def write_clips(
    answers: Answers,
    modalities: Mapping[str, Sequence[str]],
    names: Sequence[str],
    path: str,
) -> None:
    """Write the contributions to the logit of the true class of each clip."""
    rows, labels = np.arange(len(answers.labels)), answers.labels
    true = {c: logs[rows, labels] for c, logs in answers.logs.items()}
    by_modality = shapley_values(of_groups(true, modalities))
    by_expert = shapley_values(true)
    columns = dict(
        clip=answers.names,
        file=answers.files,
        has_audio=answers.has_audio,
        label=np.take(names, labels),
        chosen=np.take(names, answers.whole.argmax(axis=1)),
        logit=true[max(true, key=len)].round(4),
        base=true[frozenset()].round(4),
        **{name: value.round(4) for name, value in by_modality.items()},
        **{f'expert {n}': value.round(4) for n, value in by_expert.items()},
    )
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for n in answers.clips.argsort(kind='stable'):
            writer.writerow([column[n] for column in columns.values()])


def main() -> None:
    """Go through every data set; print, draw and write."""
    args = parse_args()
    recognizer = load_named(args)
    if recognizer.model.cls_head.multi_class:
        raise ValueError(
            'the head has several labels a clip; the report needs one'
        )
    out = outputs_of(args, 'modality_report')
    ann_files = args.ann_file or [dataset_of(recognizer.cfg)['ann_file']]
    other = None
    if args.against:
        other = other_scores(args.against, recognizer, *ann_files)
    facts = facts_of(recognizer, args)
    facts |= dict(calibrated_on=args.calibrate, against=args.against)
    path = out.with_name(f'{out.name}.json')
    record = begun_record(path, facts)
    found, bad = record.setdefault('data_sets', {}), []
    found.pop(record.pop('stopped_in', None), None)
    if args.calibrate:
        clips = clips_of(recognizer, args.calibrate, args, bad)
        temperature = calibrate(recognizer, clips, args.batch_size)
        folder = recognizer.save_pretrained(f'{out}_calibrated')
        print(f'temperature: {temperature}; calibrated model: {folder}')
        record['temperature'] = temperature
    bad = record.setdefault('bad_clips', bad)
    modalities, stopped = modalities_of(recognizer.model), False
    for ann_file in ann_files:
        stem = f'{out}_{Path(ann_file).stem}'
        if ann_file not in found:
            clips = clips_of(recognizer, ann_file, args, bad)
            answers, stopped = survey(recognizer, clips, args.batch_size)
            found[ann_file] = {
                task: report(recognizer, task, said, other, f'{stem}_{task}')
                for task, said in answers.items()
            }
            if stopped:
                record['stopped_in'] = ann_file
            record['bad_clips'] = bad = list(dict.fromkeys(bad))
            write_record(path, record)
        for task, numbers in found[ann_file].items():
            title = f'{Path(recognizer.cfg.filename).stem}, {ann_file}, {task}'
            show(title, numbers, modalities, f'{stem}_{task}.png')
            print(f'clips: {stem}_{task}.csv\nscores: {stem}_{task}.npz')
        if stopped:
            raise KeyboardInterrupt  # what is there is reported
    print(f'details: {path}')
    name_bad_clips(bad)


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, ValueError)
