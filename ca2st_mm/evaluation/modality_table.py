# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracies of parts of a model next to that of the whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# The whole model; and with the audio of another clip.
WHOLE = 'all experts'
SHUFFLED = 'audio of another clip'
WITHOUT_AUDIO = 'all experts, clips without audio'


class Answer(NamedTuple):
    """What a part of a model says of one clip.

    Attributes:
        hit: Whether its best class is the true one.
        probability: Of the true class.
    """

    hit: bool
    probability: float


@dataclass
class ClipAnswers:
    """All answers for one clip and one task.

    Attributes:
        label: The true class.
        has_audio: Whether it has audio; None if unknown.
        by_part: Answers by name of the part, :data:`WHOLE` among them.
    """

    label: int
    has_audio: bool | None
    by_part: dict[str, Answer]


class Row(NamedTuple):
    """One part over some clips.

    Attributes:
        clips: Number of clips that it could be asked.
        top1: Share it names rightly.
        change: That minus the share the whole model names rightly, on the
            same clips.
        probability: Mean probability of the true class.
    """

    clips: int
    top1: float
    change: float
    probability: float


def table(clips: Sequence[ClipAnswers]) -> dict[str, Row]:
    """A row for each part, the whole first.

    Args:
        clips: At least one.
    """
    parts = {part: None for clip in clips for part in clip.by_part}
    rows = {part: _row(part, clips) for part in parts}
    without = [clip for clip in clips if clip.has_audio is False]
    if without:
        rows[WITHOUT_AUDIO] = _row(WHOLE, without)
    return rows


def table_by_class(
    clips: Iterable[ClipAnswers],
) -> dict[int, dict[str, Row]]:
    """A table for each class that occurs, by its number.

    Args:
        clips: All clips.
    """
    by_class: dict[int, list[ClipAnswers]] = {}
    for clip in clips:
        by_class.setdefault(clip.label, []).append(clip)
    return {label: table(by_class[label]) for label in sorted(by_class)}


def _row(part: str, clips: Iterable[ClipAnswers]) -> Row:
    asked = [clip.by_part for clip in clips if part in clip.by_part]
    hits = sum(answers[part].hit for answers in asked)
    before = sum(answers[WHOLE].hit for answers in asked)
    count = len(asked)
    return Row(
        count,
        hits / count,
        (hits - before) / count,
        sum(answers[part].probability for answers in asked) / count,
    )


def as_text(rows: Mapping[str, Row]) -> str:
    """A table for people."""
    width = max(map(len, rows))
    lines = [
        f'{"":{width}}{"clips":>8}{"top-1":>9}{"change":>9}{"true class":>12}'
    ]
    lines += [
        f'{part:{width}}{row.clips:>8}{row.top1:>9.1%}{row.change:>+9.1%}'
        f'{row.probability:>12.1%}'
        for part, row in rows.items()
    ]
    return '\n'.join(lines)
