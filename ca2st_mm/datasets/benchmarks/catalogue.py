# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The ten benchmarks: their lists, published counts, and how to read a row.

Counts come from the authors of the benchmarks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial

from ca2st_mm.utils.text_files import ListFileError

from ..list_files import ListFile, Row, is_index
from .benchmark import (
    Benchmark,
    Clip,
    Form,
    LeftOut,
    Names,
    checked_class,
    json_objects,
    path_labels,
    shipped_names,
    with_header,
    without_header,
)

_TIMES = 'start_timestamp', 'stop_timestamp'
_FILE_TEXT_LABEL = 'file', 'text', 'label'
_K400_HEADER = 'label', 'youtube_id', 'time_start', 'time_end'
_EPIC_CLASSES = dict(
    verb='epic_kitchens_100_verb.txt', noun='epic_kitchens_100_noun.txt'
)


def _file_label(row: Row, names: Names) -> Clip:
    label = row.index('label', len(names['label']))
    return Clip(row['file'], (label,), (row['file'],))


def _file_class(row: Row, names: Names) -> Clip:
    label = row.class_of('class', names['label'])
    return Clip(row['file'], (label,), (row['file'],))


def _file_text_label(row: Row, names: Names) -> Clip:
    label = checked_class(row, 'label', 'text', names)
    return Clip(row['file'], (label,), (row['file'],))


def _unlabelled(id_column: str, **counts: int) -> Form:
    """The form of test sets whose labels their owners keep."""

    def clip(row: Row, names: Names) -> Clip:
        name, times = row[id_column], map(row.seconds, _TIMES)
        return Clip(name, (), (name,), (row['video_id'],), *times)

    return Form(
        'official times of the test set, without labels',
        with_header(id_column, 'video_id', *_TIMES),
        clip,
        counts,
    )


def _activitynet_segments(source: ListFile) -> Iterator[Row] | None:
    """Each annotated segment of the official JSON."""
    database = isinstance(source.json, dict) and source.json.get('database')
    if not isinstance(database, dict):
        return None

    def rows() -> Iterator[Row]:
        splits = dict(training='train', validation='val')
        for video, facts in database.items():
            where = f"'{source.path}', video {video}"
            subset = Row(where, facts)['subset']
            cells = dict(video_id=video, split=splits.get(subset, subset))
            segments = facts.get('annotations') or []
            if not isinstance(segments, list):
                raise ListFileError(f'{where}: annotations are no list.')
            for number, segment in enumerate(segments):
                times = Row(where, segment).cells.get('segment')
                if not (isinstance(times, list) and len(times) == 2):
                    raise ListFileError(
                        f'{where}: a segment without two times.'
                    )
                cells |= dict(label=segment.get('label'), number=number)
                cells |= dict(t_start=times[0], t_end=times[1])
                yield Row(where, dict(cells))

    return rows()


def _activitynet_csv(source: ListFile) -> Iterator[Row] | None:
    """Rows of the authors' CSV, the segments of a video numbered."""
    table = with_header('video_id', 't_start', 't_end', 'label')(source)
    numbers = Counter()

    def rows() -> Iterator[Row]:
        for row in table:
            number = numbers[row['video_id']]
            numbers[row['video_id']] += 1
            yield Row(row.where, {**row.cells, 'number': number})

    return table and rows()


def _activitynet(row: Row, names: Names) -> Clip:
    """One instance; trimmed files are called id_number (from 0)."""
    span = row.seconds('t_start'), row.seconds('t_end')
    if None in span:
        raise ListFileError(f'{row.where}: t_start or t_end is absent.')
    if is_index(row['label']):
        label = row.index('label', len(names['label']))
    else:
        label = row.class_of('label', names['label'])
    video = row['video_id'].removeprefix('v_')
    name = f'{video}_{row["number"]}'
    files, videos = (f'v_{name}', name), (f'v_{video}', video)
    return Clip(name, (label,), files, videos, *span)


ACTIVITYNET = Benchmark(
    name='activitynet',
    title='ActivityNet 1.3',
    classes=dict(label='activitynet.txt'),
    lists={
        split: (
            'activity_net.v1-3.min.json',
            'activity_net.v1-3.json',
            f'{split}.csv',
        )
        for split in ('train', 'val')
    },
    forms=(
        Form(
            'official JSON',
            _activitynet_segments,
            _activitynet,
            split_column='split',
        ),
        Form(
            "the authors' CSV with t_start and t_end",
            _activitynet_csv,
            _activitynet,
        ),
    ),
    untrimmed=True,
)


def _narration(row: Row, names: Names) -> Clip:
    """A narration; lists of the authors have no times."""
    name = row['narration_id']
    labels = [row.index(f'{k}_class', len(names[k])) for k in names]
    video = name.rpartition('_')[0]  # narrations of a video are numbered
    return Clip(
        name, tuple(labels), (name,), (video,), *map(row.seconds, _TIMES)
    )


_NARRATION = 'narration_id', 'verb_class', 'noun_class'
_EPIC_COUNTS = dict(train=67_217, val=9_668)
EPIC_KITCHENS_100 = Benchmark(
    name='epic_kitchens_100',
    title='EPIC-KITCHENS-100',
    folder='epic_kitchens100',
    classes=_EPIC_CLASSES,
    lists=dict(
        train=('EPIC_100_train.csv', 'epic100_train_gpt2_xl.csv', 'train.csv'),
        val=('EPIC_100_validation.csv', 'epic100_val_gpt2_xl.csv', 'val.csv'),
        test=('EPIC_100_test_timestamps.csv',),
    ),
    forms=(
        Form(
            'official CSV',
            with_header(*_NARRATION, *_TIMES),
            _narration,
            _EPIC_COUNTS,
        ),
        Form(
            "the CAST authors' list 'id,verb,noun'",
            without_header(*_NARRATION, indices=(1, 2)),
            _narration,
            _EPIC_COUNTS,
        ),
        Form(
            "the CA2ST authors' CSV with header, as 'epic100_*_gpt2_xl.csv'",
            # verb, noun, start_frame, stop_frame
            without_header(
                *_NARRATION, indices=(1, 2, 12, 13), skip=1, more=True
            ),
            _narration,
            _EPIC_COUNTS,
        ),
        _unlabelled('narration_id'),
    ),
    untrimmed=True,
)


def _epic_sound(row: Row, names: Names) -> Clip | LeftOut:
    name, video = row['annotation_id'], row['video_id']
    label = checked_class(row, 'class_id', 'class', names)
    if name == 'P01_03_22':
        return LeftOut(name, 'the CA2ST authors leave it out, reason unknown')
    return Clip(name, (label,), (name,), (video,), *map(row.seconds, _TIMES))


EPIC_SOUNDS = Benchmark(
    name='epic_sounds',
    title='EPIC-SOUNDS',
    classes=dict(label='epic_sounds.txt'),
    lists=dict(
        train=('EPIC_Sounds_train.csv',),
        val=('EPIC_Sounds_validation.csv',),
        test=('EPIC_Sounds_recognition_test_timestamps.csv',),
    ),
    forms=(
        Form(
            'official CSV',
            with_header('annotation_id', 'video_id', 'class', 'class_id'),
            _epic_sound,
            dict(val=8_035),
        ),
        _unlabelled('annotation_id', test=5_131),
    ),
    untrimmed=True,
)


def _hd_epic(row: Row, names: Names) -> Clip | LeftOut:
    """A narration with verb and noun of its first main action."""
    name, video = row['unique_narration_id'], row.get('video_id')
    actions = row.cells.get('main_action_classes')
    first = actions[0] if isinstance(actions, list) and actions else None
    labels = ()
    if isinstance(first, list) and len(first) == 2:
        action = Row(row.where, dict(verb=first[0], noun=first[1]))
        labels = action.index('verb'), action.index('noun')
    sizes = map(len, names.values())
    if not labels or any(i >= n for i, n in zip(labels, sizes, strict=True)):
        return LeftOut(
            name,
            'its first main action is not one of the 97 verbs with one of '
            'the 300 nouns of EPIC-KITCHENS-100',
        )
    times = row.seconds('start_timestamp'), row.seconds('end_timestamp')
    return Clip(name, labels, (name,), (video,) if video else (), *times)


HD_EPIC = Benchmark(
    name='hd_epic',
    title='HD-EPIC',
    classes=_EPIC_CLASSES,
    lists=dict(test=('HD_EPIC_Narrations.json', 'HD_EPIC_Narrations.jsonl')),
    forms=(
        Form(
            'narrations as JSON objects',
            json_objects('unique_narration_id', 'main_action_classes'),
            _hd_epic,
            dict(test=59_454),
        ),
    ),
    untrimmed=True,
)


def _hd_epic_sound(row: Row, names: Names) -> Clip:
    """An event; its edges are samples at 48 kHz.

    Some are shorter than a frame; the authors cut at least 1/30 s.
    """
    first, last = row.index('start_sample'), row.index('stop_sample')
    name = f'{row["video_id"]}-{first}-{last}'
    end = max(last / 48_000, first / 48_000 + 1 / 30)
    label = row.index('class_id', len(names['label']))
    video = (row['video_id'],)
    return Clip(name, (label,), (name,), video, first / 48_000, end)


HD_EPIC_SOUNDS = Benchmark(
    name='hd_epic_sounds',
    title='HD-EPIC-SOUNDS',
    classes=dict(label='epic_sounds.txt'),
    lists=dict(test=('HD_EPIC_Sounds.csv',)),
    forms=(
        Form(
            'official CSV',
            with_header('video_id', 'start_sample', 'stop_sample', 'class_id'),
            _hd_epic_sound,
            dict(test=50_968),
        ),
    ),
    untrimmed=True,
)


def _kinetics(row: Row, names: Names) -> Clip:
    """A row of the official CSV; downloaders may leave the times out."""
    name = row['youtube_id']
    first, last = row.index('time_start'), row.index('time_end')
    files = f'{name}_{first:06d}_{last:06d}', name
    return Clip(files[0], (row.class_of('label', names['label']),), files)


KINETICS400 = Benchmark(
    name='kinetics400',
    title='Kinetics-400',
    classes=dict(label='kinetics400.txt'),
    lists={
        split: (
            f'{split}.csv',
            f'kinetics_{split}.csv',
            f'kinetics400_{split}_list_videos.txt',
        )
        for split in ('train', 'val')
    },
    forms=(
        # No counts: the official lists have changed over the years, and
        # lists of the second form name the videos that were still available.
        Form('official CSV', with_header(*_K400_HEADER), _kinetics),
        Form("list 'file label'", path_labels, _file_label),
    ),
)


@lru_cache
def _kinetics_indices(names: tuple[str, ...]) -> dict[int, int]:
    """Index in Kinetics-400 -> index in the names of its classes."""
    known = shipped_names('kinetics400.txt')
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ListFileError(
            f'Kinetics-400 has no class {unknown[0]!r}; correct the name in '
            'the list of --classes.'
        )
    return {known.index(name): index for index, name in enumerate(names)}


def _audible(
    kinetics_clip: Callable[[Row, Names], Clip], row: Row, names: Names
) -> Clip | None:
    """A clip of Kinetics-400 if its class is one of KineticsSound."""
    indices = _kinetics_indices(tuple(names['label']))
    clip = kinetics_clip(row, dict(label=shipped_names('kinetics400.txt')))
    if clip.labels[0] not in indices:
        return None
    return clip._replace(labels=(indices[clip.labels[0]],))


KINETICS_SOUND = Benchmark(
    name='kinetics_sound',
    title='KineticsSound',
    classes=dict(label='kinetics_sound.txt'),
    lists=dict(
        train=('my_train.txt', 'train.csv', 'kinetics_train.csv'),
        test=('my_test.txt', 'val.csv', 'kinetics_val.csv'),
    ),
    forms=(
        Form(
            "the authors' list 'id,text,label'",
            without_header(*_FILE_TEXT_LABEL, indices=(2,)),
            _file_text_label,
        ),
        Form(
            'official CSV of Kinetics-400',
            with_header(*_K400_HEADER),
            partial(_audible, _kinetics),
        ),
        Form(
            "list 'file label' of Kinetics-400",
            path_labels,
            partial(_audible, _file_label),
        ),
    ),
)


def _template(row: Row, names: Names) -> Clip:
    """A class is a template without its brackets."""
    template = row['template'].replace('[', '').replace(']', '')
    named = Row(row.where, dict(template=template))
    label = named.class_of('template', names['label'])
    return Clip(row['id'], (label,), (row['id'],))


_SSV2_COUNTS = dict(train=168_913, val=24_777)
SOMETHING_SOMETHING_V2 = Benchmark(
    name='something_something_v2',
    title='Something-Something V2',
    classes=dict(label='something_something_v2.txt'),
    lists={
        split: (
            f'{long}.json',
            f'something-something-v2-{long}.json',
            f'{split}.csv',
        )
        for split, long in dict(train='train', val='validation').items()
    },
    forms=(
        Form(
            'official JSON',
            json_objects('id', 'template'),
            _template,
            _SSV2_COUNTS,
        ),
        Form("list 'file label'", path_labels, _file_label, _SSV2_COUNTS),
    ),
)


def _ucf_rows(first: int, source: ListFile) -> Iterable[Row] | None:
    """Lines ``class/file`` with or without a number, from ``first``."""
    row = next(source.path_labels(required=False))
    number = row.get('label')
    if row['file'].count('/') != 1 or (number and not is_index(number)):
        return None
    folder, known = row['file'].split('/')[0], shipped_names('ucf101.txt')
    from_0 = folder in known and number == str(known.index(folder))
    return (
        source.path_labels(required=False) if from_0 == (not first) else None
    )


def _ucf(first: int, row: Row, names: Names) -> Clip:
    """The class is the folder; a number after the file has to agree."""
    folder = row['file'].partition('/')[0]
    named = Row(row.where, dict(folder=folder))
    label = named.class_of('folder', names['label'])
    if row.get('label') and row.index('label') != label + first:
        raise ListFileError(
            f'{row.where}: the number {row["label"]} does not fit the class '
            f'{folder!r}; the official numbers are those of classInd.txt.'
        )
    return Clip(row['file'], (label,), (row['file'],))


UCF101 = Benchmark(
    name='ucf101',
    title='UCF-101',
    classes=dict(label='ucf101.txt'),
    lists={
        f'{kind}_split{number}': (
            f'{kind}list0{number}.txt',
            f'{kind}list0{number}_audio.txt',
        )
        for number in (1, 2, 3)
        for kind in ('train', 'test')
    },
    forms=(
        Form(
            "the authors' list 'class/file label' of clips with audio",
            partial(_ucf_rows, 0),
            partial(_ucf, 0),
            # How many clips have audio is not published.
        ),
        Form(
            "official list 'class/file'",
            partial(_ucf_rows, 1),
            partial(_ucf, 1),
            dict(
                train_split1=9_537,
                test_split1=3_783,
                train_split2=9_586,
                test_split2=3_734,
                train_split3=9_624,
                test_split3=3_696,
            ),
        ),
    ),
)


def _vggsound(row: Row, names: Names) -> Clip:
    label = row.class_of('label', names['label'])
    name = f'{row["id"]}_{row.index("start"):06d}'
    return Clip(name, (label,), (name,))


VGGSOUND = Benchmark(
    name='vggsound',
    title='VGG-Sound',
    classes=dict(label='vggsound.txt'),
    lists={
        split: ('vggsound.csv', f'{split}_sel.csv', f'{split}.csv')
        for split in ('train', 'test')
    },
    forms=(
        Form(
            "official 'vggsound.csv', both splits in one file",
            without_header('id', 'start', 'label', 'split', indices=(1,)),
            _vggsound,
            # 291 more than in train.csv and test.csv
            # (github.com/hche11/VGGSound/issues/19).
            dict(train=183_971, test=15_496),
            split_column='split',
        ),
        Form(
            "official list 'file,class'",
            without_header('file', 'class', indices=()),
            _file_class,
            dict(train=183_730, test=15_446),
        ),
        Form(
            "the authors' list 'file,text,label' with header",
            without_header(*_FILE_TEXT_LABEL, indices=(2,), skip=1),
            _file_text_label,
            # A selection ("sel"): its size is not published.
        ),
    ),
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        ACTIVITYNET,
        EPIC_KITCHENS_100,
        EPIC_SOUNDS,
        HD_EPIC,
        HD_EPIC_SOUNDS,
        KINETICS400,
        KINETICS_SOUND,
        SOMETHING_SOMETHING_V2,
        UCF101,
        VGGSOUND,
    )
}
