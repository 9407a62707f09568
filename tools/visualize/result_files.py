# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Result files by the name of their model, and the scores in dumps."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePath

import numpy as np
from mmengine.fileio import load
from mmengine.logging import print_log

from ca2st_mm.evaluation.clip_metrics import is_readable, scores_of
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.text_files import read_record
from ca2st_mm.visualization.style import FigureInputError

_WRONG = (EOFError, AttributeError, TypeError, ValueError)
_SAME = 'test both models on the same list'
# Label column -> key of its scores in a prediction.
KEYS = dict(label='pred_score', verb='pred_verb_score', noun='pred_noun_score')


@dataclass(frozen=True)
class Scores:
    """The scores that one model gives the clips that it could read."""

    path: str
    total: int  # clips of the dump, unreadable ones included
    clips: np.ndarray  # positions of the readable clips in the dump, (clips,)
    # By label column (label, or verb and noun): (clips, classes), (clips,).
    scores: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    files: list[str] | None  # None if the test did not keep them
    ids: list[str] | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, task: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores and labels of one label column; None for the only one.

        Raises:
            FigureInputError: If there is no such column, or several.
        """
        if task is None and len(self.scores) == 1:
            task = next(iter(self.scores))
        if task not in self.scores:
            known = ' and '.join(self.scores)
            todo = '; choose with --task' if task is None else f', not {task}'
            raise FigureInputError(
                f'{self.path} holds scores of {known}{todo}'
            )
        return self.scores[task], self.labels[task]

    def hits(self, task: str | None) -> np.ndarray:
        """Whether the best class of each clip is the true one, (clips,)."""
        scores, labels = self.of(task)
        return scores.argmax(axis=1) == labels

    def only(self, clips: np.ndarray) -> 'Scores':
        """The same of fewer clips, by their positions in the dump."""
        kept = np.isin(self.clips, clips)
        return replace(
            self,
            clips=self.clips[kept],
            scores={task: rows[kept] for task, rows in self.scores.items()},
            labels={task: rows[kept] for task, rows in self.labels.items()},
            files=self.files and list(compress(self.files, kept)),
            ids=self.ids and list(compress(self.ids, kept)),
        )


def read_scores(path: str | Path) -> Scores:
    """Read a dump.  A pickle can run code: read only your own.

    Clips that the test could not read (``on_error='skip'``) are left out, as
    they are left out of the metrics; their number is logged.

    Raises:
        FigureInputError: If it is not there or no dump of scores.
    """
    try:
        samples = load(str(path))
        total = len(samples)
        clips = [i for i, s in enumerate(samples) if is_readable(s)]
        samples = [samples[clip] for clip in clips]
        if not samples:
            raise FigureInputError(f'{path} holds no clip that could be read')
        scores = {
            task: np.stack([scores_of(s, key) for s in samples])
            for task, key in KEYS.items()
            if key in samples[0]
        }
        labels = [np.asarray(s['gt_label']).ravel() for s in samples]
        labels = dict(zip(scores, np.stack(labels, axis=1), strict=True))
    except FileNotFoundError as error:
        raise FigureInputError(
            f'There is no file {path}; ca2st test CONFIG CHECKPOINT '
            '--dump writes it'
        ) from error
    except FigureInputError:
        raise
    except (pickle.PickleError, LookupError, *_WRONG) as error:
        raise FigureInputError(
            f'{path} holds no scores with one label for each classifier, as '
            f'ca2st test --dump writes them on a labelled set: {error}'
        ) from error
    if total > len(samples):
        print_log(
            f'{path}: {total - len(samples)} of {total} clips could not be '
            'read and are left out',
            logger='current',
        )
    files, ids = ([s.get(k) for s in samples] for k in ('filename', 'clip_id'))
    return Scores(
        str(path),
        total,
        np.array(clips),
        scores,
        labels,
        None if None in files else files,
        None if None in ids else ids,
    )


def read_comparable(dumps: Sequence[str]) -> dict[str, Scores]:
    """Scores of each ``NAME=DUMP.pkl`` for the clips that all could read.

    Raises:
        FigureInputError: If the dumps are not of the same clips in the same
            order; names both files.
    """
    results = {n: read_scores(path) for n, path in named_files(dumps).items()}
    first, *others = results.values()
    common = first.clips
    for other in others:
        if first.total != other.total:
            raise FigureInputError(
                f'{first.path} and {other.path} hold {first.total} and '
                f'{other.total} clips; {_SAME}'
            )
        common = np.intersect1d(common, other.clips)
    if not len(common):
        raise FigureInputError('there is no clip that all models could read')
    results = {name: result.only(common) for name, result in results.items()}
    first, *others = results.values()
    for other in others:
        check_same_clips(first, other)
    return results


def check_same_clips(a: Scores, b: Scores) -> None:
    """Refuse scores of other clips, classes or labels.

    Raises:
        FigureInputError: If they differ; names both files and the first clip.
    """
    pair = f'{a.path} and {b.path}'
    sizes = [{t: s.shape[1] for t, s in r.scores.items()} for r in (a, b)]
    if sizes[0] != sizes[1]:
        raise FigureInputError(
            f'{pair} have scores of {sizes[0]} and {sizes[1]} classes; {_SAME}'
        )
    columns = []
    if a.files and b.files:
        # The same clips may lie in another folder.
        names = ([PurePath(f).name for f in r.files] for r in (a, b))
        columns.append(('file', *names))
    if a.ids and b.ids:
        columns.append(('id', a.ids, b.ids))
    columns += [(f'true {t}', a.labels[t], b.labels[t]) for t in a.labels]
    for what, left, right in columns:
        for clip, x, y in zip(a.clips, left, right, strict=True):
            if x != y:
                raise FigureInputError(
                    f'{pair} differ in the {what} of clip {clip}: {x} and '
                    f'{y}; {_SAME}'
                )


def named_files(texts: Sequence[str]) -> dict[str, str]:
    """Files by the name of their model; without one, the folder gives it.

    Raises:
        FigureInputError: If two have the same name.

    >>> named_files(['CAST=cast.pkl', 'runs/clip/test.pkl'])
    {'CAST': 'cast.pkl', 'clip': 'runs/clip/test.pkl'}
    """
    files: dict[str, str] = {}
    for text in texts:
        name, sign, path = text.partition('=')
        if not (sign and name):
            path, where = text, Path(text).resolve()
            name = (where if where.is_dir() else where.parent).name
        if name in files:
            raise FigureInputError(
                f'{files[name]} and {path} are both called {name!r}; write '
                'NAME=FILE to tell them apart'
            )
        files[name] = path
    return files


def read_number(text: str) -> float:
    """The number that ``FILE:METRIC`` names.

    Raises:
        UsageError: If the file has no such number.
    """
    path, _, name = text.rpartition(':')
    if not path:
        raise UsageError(f'{text!r} names no number; write FILE:METRIC')
    metrics = read_record(path).get('metrics', {})
    if not isinstance(metrics.get(name), (int, float)):
        raise UsageError(
            f'{path} has no number {name!r}; it has {", ".join(metrics)}'
        )
    return metrics[name]
