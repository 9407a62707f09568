# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""HD-EPIC: new kitchens for models of EPIC-KITCHENS-100, test only."""

import json

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    LeftOut,
    Task,
)
from .source import Row, Source

_LEFT_OUT = (
    'its first main action is not one of the 97 verbs with one of the 300 '
    'nouns of EPIC-KITCHENS-100'
)


def is_narrations(source: Source) -> bool:
    """Whether these are JSON lines with main actions."""
    if not source.lines[0].lstrip().startswith('{'):
        return False
    try:
        first = json.loads(source.lines[0])
    except json.JSONDecodeError:
        return False
    return {'unique_narration_id', 'main_action_classes'} <= set(first)


def main_action(row: Row, task: Task) -> tuple[int, int] | None:
    """Verb and noun of the first main action, if the classes have both.

    Args:
        row: One narration.
        task: Holds the names of verbs and nouns.
    """
    actions = row.cells.get('main_action_classes') or [()]
    if len(actions[0]) != 2:
        return None
    action = Row(
        row.where, dict(zip(('verb', 'noun'), actions[0], strict=True))
    )
    verb, noun = action.integer('verb'), action.integer('noun')
    known = verb < len(task.names['verb']) and noun < len(task.names['noun'])
    return (verb, noun) if known else None


def read_narrations(source: Source, task: Task) -> Annotations:
    """The narrations, one JSON object a line."""
    clips: list[Clip] = []
    left_out: list[LeftOut] = []
    for row in source.json_lines():
        name = row['unique_narration_id']
        labels = main_action(row, task)
        if labels is None:
            left_out.append(LeftOut(name, _LEFT_OUT))
            continue
        video = row.cells.get('video_id')
        clips.append(
            Clip(
                name,
                labels,
                (name,),
                (str(video),) if video else (),
                row.seconds('start_timestamp'),
                row.seconds('end_timestamp'),
            )
        )
    return Annotations(clips, left_out)


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
            'narrations, one JSON object a line',
            is_narrations,
            read_narrations,
            dict(test=59_454),
        ),
    ),
    untrimmed=True,
)
