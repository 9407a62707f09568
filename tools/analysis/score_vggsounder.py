# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Scores of a model of VGGSound on the labels of VGGSounder.

    ca2st report score-vggsounder av=test.pkl
    ca2st report score-vggsounder av=all.pkl a=a.pkl v=v.pkl
    ca2st report score-vggsounder modality_report_test_label.npz

VGGSounder (Zverev et al., ICCV 2025) names for the clips of VGGSound's test
all classes that can be heard, seen or both; `pip install vggsounder` brings
the labels.  Scores of `tools/test.py --dump`, or of all modalities by
`modality_report.py`, are measured against each kind of label; with a, v and
av also the modality confusion (mu): right with one modality, wrong with both.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

from reports import new_parser, table, whole

# What the labels of a subset may be: heard (A), seen (V) or both (AV).
SUBSETS = {
    'all': {'A', 'V', 'AV'},
    'a': {'A', 'AV'},
    'v': {'V', 'AV'},
    'av': {'AV'},
    'a only': {'A'},
    'v only': {'V'},
}
INPUTS = dict(a='audio', v='video', av='all')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        'scores',
        nargs='+',
        metavar='INPUT=SCORES',
        help='what the model was given (a, v or av) and its dump (.pkl), or '
        'a .npz of modality_report.py',
    )
    add(
        '--classes',
        help='names of the classes, one a line; those of VGGSound that this '
        'package ships if left out',
    )
    add(
        '--topk',
        nargs='+',
        type=whole,
        default=[1, 5],
        help='how many classes a clip may name',
    )
    add('--out', help='vggsounder.json next to the first scores if left out')
    args = parser.parse_args()
    first = Path(args.scores[0].rpartition('=')[2])
    args.out = args.out or str(first.parent / 'vggsounder.json')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from result_files import read_scores

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.datasets.benchmarks import shipped_names
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.utils.percent import percent
from ca2st_mm.utils.text_files import write_record
from ca2st_mm.visualization.style import FigureInputError


class Labels(NamedTuple):
    """The labels of VGGSounder: classes, and by clip pairs of class and kind.

    A clip is called ``<YouTube id>_<second>``, kinds are A, V and AV.
    """

    classes: list[str]
    by_clip: dict[str, list[tuple[str, str]]]

    def matrix(self, clips: Sequence[str], subset: str) -> np.ndarray:
        """Whether each clip has each class, (clips, classes), bool."""
        place = {name: n for n, name in enumerate(self.classes)}
        found = np.zeros((len(clips), len(place)), bool)
        for row, clip in enumerate(clips):
            for name, kind in self.by_clip[clip]:
                found[row, place[name]] |= kind in SUBSETS[subset]
        return found


def load_labels() -> Labels:
    """The labels in the package vggsounder.

    Raises:
        FigureInputError: If it is not installed.
    """
    try:
        from vggsounder import VGGSounder
    except ImportError as error:
        raise FigureInputError(
            f'the labels are in the package vggsounder ({error}): pip '
            'install vggsounder'
        ) from error
    found = VGGSounder(background_music=None)
    by_clip = {
        clip: list(zip(one.labels, one.modalities, strict=True))
        for clip, one in found.items()
    }
    return Labels(found.get_all_labels(), by_clip)


def load_scores(texts: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Scores of each clip, (classes,), by input: a, v and av.

    Raises:
        FigureInputError: If a file cannot be used.
    """
    arrays: dict[str, tuple] = {}  # by input, files of clips and their scores
    for text in texts:
        name, sign, path = text.partition('=')
        if not sign and text.endswith('.npz'):
            try:
                report = dict(np.load(text))
                for key, modality in INPUTS.items():
                    if modality in report:
                        arrays[key] = report['files'], report[modality]
            except (OSError, ValueError, KeyError, BadZipFile) as error:
                raise FigureInputError(
                    f'{text} is no file of modality_report.py: {error}'
                ) from error
        elif name in INPUTS:
            scores = read_scores(path)
            if scores.files is None:
                raise FigureInputError(
                    f'{path} does not say which file a clip is of; pack the '
                    'meta key filename'
                )
            arrays[name] = scores.files, scores.of(None)[0]
        else:
            raise FigureInputError(
                f'{text!r} is neither a .npz of modality_report.py nor '
                f'INPUT=DUMP.pkl with INPUT of {sorted(INPUTS)}'
            )
    return {
        key: {Path(f).stem: row for f, row in zip(files, rows, strict=True)}
        for key, (files, rows) in arrays.items()
    }


def multi_label_scores(
    truth: np.ndarray, scores: np.ndarray, topk: Sequence[int]
) -> dict[str, float]:
    """How well scores find several labels a clip.

    ``hit_rate@k``: clips with a label among the k best classes.  ``f1@k``:
    F1 of the k best over all pairs of clip and class, ``f1_macro@k`` its mean
    over classes.  ``auc_roc`` and ``auc_pr``: areas under the curves of each
    class that occurs, and that not all clips have, averaged; NaN without one.

    ``truth`` is bool, (clips, classes) as ``scores``.
    """
    from sklearn.metrics import (
        average_precision_score,
        f1_score,
        roc_auc_score,
    )

    found = dict(clips=len(truth))
    order = np.argsort(scores, axis=1)
    for k in topk:
        chosen = np.zeros_like(truth)
        np.put_along_axis(chosen, order[:, -k:], True, axis=1)
        found[f'hit_rate@{k}'] = (truth & chosen).any(axis=1).mean()
        for name, average in (('f1', 'micro'), ('f1_macro', 'macro')):
            found[f'{name}@{k}'] = f1_score(
                truth, chosen, average=average, zero_division=0
            )
    some = truth.any(axis=0)
    mixed = some & ~truth.all(axis=0)
    found['auc_roc'] = (
        roc_auc_score(truth[:, mixed], scores[:, mixed])
        if mixed.any()
        else np.nan
    )
    found['auc_pr'] = average_precision_score(truth[:, some], scores[:, some])
    return {name: float(value) for name, value in found.items()}


def modality_confusion(
    truth: np.ndarray, by_input: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Share of clips whose best class is right with one input, not with av.

    ``av``: right with each of the two.  Arrays are (clips, classes).
    """
    rows = np.arange(len(truth))
    right = {n: truth[rows, s.argmax(axis=1)] for n, s in by_input.items()}
    confused = dict(a=right['a'], v=right['v'], av=right['a'] & right['v'])
    return {n: float((r & ~right['av']).mean()) for n, r in confused.items()}


def main() -> None:
    """Read, score, print and write."""
    args = parse_args()
    labels, by_input = load_labels(), load_scores(args.scores)
    names = (
        read_class_names(args.classes)
        if args.classes
        else shipped_names('vggsound.txt')
    )
    if sorted(names) != sorted(labels.classes):
        other = sorted(set(labels.classes) ^ set(names))
        raise FigureInputError(
            f'{args.classes or "vggsound.txt"} lacks classes of VGGSounder '
            f'or has others: {", ".join(other[:3]) or "some twice"}; '
            '--classes names the list of the model'
        )
    order = [names.index(name) for name in labels.classes]
    clips = [
        clip
        for clip in labels.by_clip
        if all(clip in scores for scores in by_input.values())
    ]
    if not clips:
        raise FigureInputError(
            'no clip of VGGSounder is among the scores; files are named '
            "'<YouTube id>_<second>.mp4', such as "
            f"'{next(iter(labels.by_clip))}.mp4'"
        )
    print(f'{len(clips)} of the {len(labels.by_clip)} clips of VGGSounder\n')
    arrays, rows = {}, []
    for key, scores in by_input.items():
        stacked = np.stack([scores[clip] for clip in clips])
        if stacked.shape[1] != len(names):
            raise FigureInputError(
                f'the scores of {key} are of {stacked.shape[1]} classes, '
                f'VGGSounder has {len(names)}'
            )
        arrays[key] = stacked[:, order]
        for subset in SUBSETS:
            truth = labels.matrix(clips, subset)
            used = truth.any(axis=1)
            if used.any():
                found = multi_label_scores(
                    truth[used], arrays[key][used], args.topk
                )
                rows.append(dict(input=key, labels=subset, **found))
    print(table(rows))
    # JSON has no NaN.
    known = [{k: None if v != v else v for k, v in r.items()} for r in rows]
    record = dict(clips=len(clips), scores=known)
    if set(arrays) == set(INPUTS):
        record['modality_confusion'] = modality_confusion(
            labels.matrix(clips, 'all'), arrays
        )
        for name, share in record['modality_confusion'].items():
            print(f'mu {name}: {percent(share)}')
    write_record(args.out, record)
    print(f'details: {args.out}')


if __name__ == '__main__':
    run_or_explain(main)
