# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""HD-EPIC: new kitchens for models of EPIC-KITCHENS-100, test only."""

from collections.abc import Iterator

from .benchmark import Benchmark, Clip, Form, LeftOut, Task
from .label_files import Row, Source, has_keys

_LEFT_OUT = (
    'its first main action is not one of the 97 verbs with one of the 300 '
    'nouns of EPIC-KITCHENS-100'
)


def main_action(row: Row, task: Task) -> tuple[int, int] | None:
    """Verb and noun of the first main action, if the classes have both.

    Args:
        row: One narration.
        task: Holds the names of verbs and nouns.
    """
    actions = row.cells.get('main_action_classes')
    first = actions[0] if isinstance(actions, list) and actions else None
    if not isinstance(first, list) or len(first) != 2:
        return None
    action = Row(row.where, dict(verb=first[0], noun=first[1]))
    verb, noun = action.integer('verb'), action.integer('noun')
    known = verb < len(task.names['verb']) and noun < len(task.names['noun'])
    return (verb, noun) if known else None


def read_narrations(source: Source, task: Task) -> Iterator[Clip | LeftOut]:
    """The narrations: JSON lines, a list, or columns as pandas writes."""
    for row in source.records:
        name = row['unique_narration_id']
        labels = main_action(row, task)
        if labels is None:
            yield LeftOut(name, _LEFT_OUT)
            continue
        video = row.cells.get('video_id')
        yield Clip(
            name,
            labels,
            (name,),
            (str(video),) if video else (),
            row.seconds('start_timestamp'),
            row.seconds('end_timestamp'),
        )


BENCHMARK = Benchmark(
    name='hd_epic',
    title='HD-EPIC',
    folder='hd_epic',
    classes=dict(verb=97, noun=300),
    class_files=dict(
        verb='epic_kitchens_100_verb.txt', noun='epic_kitchens_100_noun.txt'
    ),
    lists=dict(test=('HD_EPIC_Narrations.json', 'HD_EPIC_Narrations.jsonl')),
    forms=(
        Form(
            'narrations as JSON objects',
            has_keys('unique_narration_id', 'main_action_classes'),
            read_narrations,
            dict(test=59_454),
        ),
    ),
    untrimmed=True,
)
