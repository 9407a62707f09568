# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which sense decided, as bars and one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from ca2st_mm.apis.modality import WhichSense

_ALONE = ' alone'


def sense_bars(
    found: WhichSense, names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What the whole model and each part of it say.

    Args:
        found: The scores.
        names: Class names by task.

    Returns:
        ``tasks``, by task: ``chosen`` (the name that the whole model gives),
        ``verdict`` (a sentence) and ``bars``: ``part``, ``score`` (of the
        chosen name), and the ``best`` name of the part with its
        ``best_score``.  And ``unknown``: reason by part.
    """
    tasks = {task: _task(found, task, names[task]) for task in found.whole}
    return dict(tasks=tasks, unknown=dict(found.unknown))


def _task(
    found: WhichSense, task: str, names: Sequence[str]
) -> dict[str, Any]:
    chosen = int(found.whole[task].argmax())
    bars = []
    for part, scores in {'whole model': found.whole, **found.parts}.items():
        values = scores[task]
        best = int(values.argmax())
        bars.append(
            dict(
                part=part,
                score=values[chosen].item(),
                best=names[best],
                best_score=values[best].item(),
            )
        )
    return dict(
        chosen=names[chosen],
        verdict=verdict(names[chosen], bars),
        bars=bars,
    )


def verdict(chosen: str, bars: Sequence[Mapping[str, Any]]) -> str:
    """Which senses alone give the name of the whole model, in words.

    Args:
        chosen: That name.
        bars: Of :func:`sense_bars`.
    """
    alone = [bar for bar in bars if bar['part'].endswith(_ALONE)]
    agree = [bar['part'] for bar in alone if bar['best'] == chosen]
    differ = [bar['part'] for bar in alone if bar['best'] != chosen]
    if not agree:
        return 'No sense alone gives this name: it took them together.'
    first, *others = agree
    said = [f'{first.capitalize()} gives this name']
    said += [f'so does {part}' for part in others]
    said += [f'{part} does not' for part in differ]
    return f'{"; ".join(said)}.'
