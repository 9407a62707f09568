# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What ``benchmarks.yml`` cannot say about lists, by name.

``READERS`` give the rows of a list, or None if it has another form;
``CONVERTERS`` change the rows of a table or of JSON records.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

from ca2st_mm.datasets.list_files import ListFile, Row, is_index
from ca2st_mm.utils.text_files import ListFileError


def path_labels(source: ListFile) -> Iterable[Row] | None:
    """Lines ``path label``, as MMAction2 and the CA2ST authors write."""
    return source.path_labels() if source.has_path_labels() else None


def activitynet(source: ListFile) -> Iterable[Row] | None:
    """Each annotated segment of the official JSON."""
    database = isinstance(source.json, dict) and source.json.get('database')
    if isinstance(database, dict):
        return numbered(_segments(source.path, database))
    return None


def _segments(path: str, database: dict) -> Iterator[Row]:
    splits = dict(training='train', validation='val')
    for video, facts in database.items():
        where = f"'{path}', video {video}"
        subset = Row(where, facts)['subset']
        segments = facts.get('annotations') or []
        if not isinstance(segments, list):
            raise ListFileError(f'{where}: its annotations are no list.')
        for segment in segments:
            times = Row(where, segment).cells.get('segment')
            if not (isinstance(times, list) and len(times) == 2):
                raise ListFileError(f'{where}: a segment without two times.')
            cells = dict(video_id=video, label=segment.get('label'))
            cells |= dict(zip(('t_start', 't_end'), times, strict=True))
            yield Row(where, cells | dict(split=splits.get(subset, subset)))


def numbered(rows: Iterable[Row]) -> Iterator[Row]:
    """Segments with the name of their video and their number, from 0."""
    numbers = Counter()
    for row in rows:
        video = row['video_id'].removeprefix('v_')
        cells = dict(video=video, number=numbers[video])
        numbers[video] += 1
        yield Row(row.where, {**row.cells, **cells})


def first_action(rows: Iterable[Row]) -> Iterator[Row]:
    """Narrations with verb and noun of their first main action, if any."""
    for row in rows:
        name = row['unique_narration_id']
        # Narrations of a video are numbered.
        video = row.get('video_id') or name.rpartition('-')[0] or name
        cells = {**row.cells, 'video_id': video}
        actions = row.cells.get('main_action_classes')
        first = actions[0] if isinstance(actions, list) and actions else None
        if isinstance(first, list) and len(first) == 2:
            cells |= dict(verb=first[0], noun=first[1])
        yield Row(row.where, cells)


def in_seconds(rows: Iterable[Row]) -> Iterator[Row]:
    """Events whose edges are samples at 48 kHz."""
    for row in rows:
        start, end = row.index('start_sample'), row.index('stop_sample')
        # Some are shorter than a frame; the authors cut at least this much.
        end = max(end / 48_000, start / 48_000 + 1 / 30)
        cells = dict(start=start / 48_000, end=end)
        yield Row(row.where, {**row.cells, **cells})


def without_brackets(rows: Iterable[Row]) -> Iterator[Row]:
    """Clips whose class is a template without its brackets."""
    for row in rows:
        name = row['template'].replace('[', '').replace(']', '')
        yield Row(row.where, {**row.cells, 'class': name})


def ucf101(first: int, source: ListFile) -> Iterable[Row] | None:
    """Lines ``class/file`` with or without a number, from ``first`` on.

    The class is the folder, with which a number has to agree.
    """
    rows = list(source.path_labels(required=False))
    number = rows[0].get('label')
    if rows[0]['file'].count('/') != 1 or (number and not is_index(number)):
        return None
    from_0 = any(row.get('label') == '0' for row in rows)
    return _with_folder(first, rows) if from_0 == (first == 0) else None


def _with_folder(first: int, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        folder = row['file'].partition('/')[0]
        label = row.index('label') - first if row.get('label') else folder
        cells = dict(file=row['file'], folder=folder, label=label)
        yield Row(row.where, cells)


READERS = dict(
    path_labels=path_labels,
    activitynet=activitynet,
    ucf101_from_0=partial(ucf101, 0),
    ucf101_from_1=partial(ucf101, 1),
)
CONVERTERS = dict(
    numbered=numbered,
    first_action=first_action,
    in_seconds=in_seconds,
    without_brackets=without_brackets,
)
