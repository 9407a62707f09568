# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The toy data set: an embedded world in which every expert is needed.

A clip shows a shape that moves left or right while a tone sounds; the class
is shape x direction x pitch.  A single frame shows the shape only: played
backwards a clip is a clip of the other direction, and its path is laid so
that the frames 1, 3, 5, ... an image expert reads are, as a set without
order, equally likely for both directions.  The tone says nothing about the
frames.  So the upper bounds of top-1 accuracy are

- everything: 1
- without audio: 1 / pitches
- frames without order: 1 / (directions x pitches)
- audio alone: 1 / (shapes x directions)
- unordered frames and audio: 1 / directions

:func:`posterior` gives the exact probabilities of the classes from any of
the factors, so that what measures a model can be tested against the truth.
Labels can come from one modality alone, in which case the other tells
nothing, and a share of the clips can have the audio of another clip
(:class:`ToyWorld`).

Position, size, colour, background, speed, drift, noise, loudness, harmonics,
onset and phase vary at random and independently of the class.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ca2st_mm.utils.text_files import write_texts

from .annotations import annotation_text
from .media_writer import write_clip

SHAPES = ('disc', 'cross')
DIRECTIONS = ('left', 'right')
PITCHES = {'low': 260.0, 'middle': 620.0, 'high': 1480.0}  # Hz
FACTORS = dict(shape=SHAPES, direction=DIRECTIONS, pitch=tuple(PITCHES))
# The factors that make the class, by where the labels come from.
LABEL_FACTORS = dict(
    both=('shape', 'direction', 'pitch'),
    video=('shape', 'direction'),
    audio=('pitch',),
)


class ToyWorld(NamedTuple):
    """Sizes of the clips, and how their audio and video belong together.

    Attributes:
        size: Height and width, pixels (even; decord cannot read 48).
        num_frames: Frames of a clip.
        fps: Frames a second.
        sample_rate: Samples a second of the audio.
        labels_from: 'both': the class is shape x direction x pitch;
            'video': shape x direction; 'audio': pitch.
        misaligned: Share of the clips that have the audio of a clip drawn
            at random, from 0 to 1; with labels from both alone.
    """

    size: int = 64
    num_frames: int = 16
    fps: int = 12
    sample_rate: int = 16000
    labels_from: str = 'both'
    misaligned: float = 0.0


def class_names(labels_from: str = 'both') -> tuple[str, ...]:
    """Names of the classes, in the order of their indices."""
    values = [FACTORS[factor] for factor in LABEL_FACTORS[labels_from]]
    return tuple(' '.join(names) for names in product(*values))


def posterior(
    known: Mapping[str, Sequence[int]],
    num_clips: int,
    world: ToyWorld | None = None,
) -> np.ndarray:
    """The exact probability of every class, given some factors of a clip.

    Video tells shape and direction, audio the pitch that is heard, which is
    that of the class in all but the misaligned clips.

    Args:
        known: Value of each clip, by the name of the factor; without any,
            this is the prior.
        num_clips: How many clips.
        world: Where the labels come from, and how many are misaligned.

    Returns:
        (num_clips, num_classes), rows add up to 1.

    >>> posterior(dict(pitch=[2]), 1, ToyWorld(labels_from='audio'))
    array([[0., 0., 1.]])
    """
    world = world or ToyWorld()
    classes = np.ones((num_clips, 1))
    for factor in LABEL_FACTORS[world.labels_from]:
        size = len(FACTORS[factor])
        values = np.full((num_clips, size), 1 / size)
        if factor in known:
            wrong = world.misaligned if factor == 'pitch' else 0
            exact = np.eye(size)[np.asarray(known[factor])]
            values = (1 - wrong) * exact + wrong * values
        classes = classes[:, :, None] * values[:, None]
        classes = classes.reshape(num_clips, -1)
    return classes


def factors_of(label: int) -> tuple[int, int, int]:
    """Shape, direction and pitch index of a class.

    >>> class_names()[7], factors_of(7)
    ('cross left middle', (1, 0, 1))
    """
    sizes = tuple(len(values) for values in FACTORS.values())
    return tuple(int(i) for i in np.unravel_index(label, sizes))


def draw_frames(
    label: int, world: ToyWorld, rng: np.random.Generator
) -> np.ndarray:
    """The frames of a clip, RGB uint8 (num_frames, size, size, 3).

    ``rng`` is the source of everything that is not the class.
    """
    shape, direction, _ = factors_of(label)
    sign = 1 if DIRECTIONS[direction] == 'right' else -1
    size = world.size
    radius = rng.uniform(0.15, 0.20) * size
    # Symmetric about the middle frame, which is what makes the odd frames
    # a set that does not tell the direction.
    clock = (np.arange(world.num_frames) / world.num_frames) - 0.5
    travel = sign * rng.uniform(0.55, 0.75) * size
    x = size * rng.uniform(0.42, 0.58) + travel * clock
    y = size * rng.uniform(0.3, 0.7) + rng.normal(0, 0.06) * size * clock
    centres = zip(x, y, strict=True)
    masks = [_mask(SHAPES[shape], size, radius, place) for place in centres]
    masks = np.stack(masks)[..., None]
    back, front = _colours(size, rng)
    frames = back * (1 - masks) + front * masks
    frames = frames + rng.normal(0, rng.uniform(0.01, 0.05), frames.shape)
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


def _mask(
    shape: str, size: int, radius: float, centre: tuple[float, float]
) -> np.ndarray:
    """Coverage of the shape, (size, size) from 0 to 1, soft at the edge."""
    grid = np.arange(size) + 0.5
    dx = np.abs(grid[None, :] - centre[0])
    dy = np.abs(grid[:, None] - centre[1])
    if shape == 'disc':
        distance = np.hypot(dx, dy) - 0.9 * radius
    else:  # a plus sign of the same extent
        arm = 0.3 * radius
        flat = np.maximum(dx - radius, dy - arm)
        upright = np.maximum(dx - arm, dy - radius)
        distance = np.minimum(flat, upright)
    return (0.5 - distance).clip(0, 1)


def _colours(
    size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A dim shaded background and a bright foreground colour."""
    corners = rng.uniform(0.05, 0.4, (2, 2, 3))
    ramp = np.linspace(0, 1, size)
    rows = corners[0, 0] + np.multiply.outer(
        ramp, corners[1, 0] - corners[0, 0]
    )
    shade = np.multiply.outer(ramp, corners[0, 1] - corners[0, 0])
    front = rng.uniform(0.5, 1.0, 3)
    front[rng.integers(3)] = 1.0
    return rows[:, None] + shade[None], front


def draw_audio(
    label: int, world: ToyWorld, rng: np.random.Generator
) -> np.ndarray:
    """The audio of a clip, mono float32 in [-1, 1], (num_samples,)."""
    pitch = list(PITCHES.values())[factors_of(label)[2]]
    rate = world.sample_rate
    seconds = world.num_frames / world.fps
    t = np.arange(round(seconds * rate)) / rate
    pitch = pitch * 2 ** rng.uniform(-0.12, 0.12)
    bend = rng.uniform(0, 0.01) * np.sin(2 * np.pi * rng.uniform(3, 7) * t)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + bend)) / rate
    tone = np.sin(phase + rng.uniform(0, 2 * np.pi))
    for harmonic in (2, 3):
        level = rng.uniform(0, 0.25) / harmonic
        tone = tone + level * np.sin(harmonic * phase)
    onset, length = rng.uniform(0, 0.2), rng.uniform(0.7, 1.0) * seconds
    ramp = 0.02  # seconds of fading in and out
    gate = np.minimum(t - onset, onset + length - t) / ramp
    tone = tone * gate.clip(0, 1)
    noise = rng.normal(0, 10 ** (rng.uniform(-30, -15) / 20), len(t))
    audio = (tone / 1.25 + noise) * 10 ** (rng.uniform(-18, -4) / 20)
    return audio.clip(-1, 1).astype(np.float32)


def write_toy_set(
    folder: str,
    sizes: dict[str, int],
    seed: int = 0,
    world: ToyWorld | None = None,
    num_workers: int = 2,
) -> None:
    """Write the whole data set.

    Below ``folder``: ``videos/<split>_<number>.mp4``, ``<split>.csv`` with
    the class, ``<split>_shape.csv``, ``..._direction.csv`` and
    ``..._pitch.csv`` with one factor, as it is seen and heard, as label,
    ``<split>_shuffled_audio.csv`` (test only) in which every clip has the
    audio of another one, and ``classes.txt`` and ``classes_<factor>.txt``.

    Args:
        folder: Where to write.
        sizes: Number of clips of each split.
        seed: Same seed, same files.
        world: Sizes of the clips.
        num_workers: Threads.

    Raises:
        ValueError: If the source of the labels is unknown, or clips are
            misaligned while one modality alone is labelled.
    """
    world = world or ToyWorld()
    if world.labels_from not in LABEL_FACTORS:
        raise ValueError(
            f'labels_from is one of {sorted(LABEL_FACTORS)}, got '
            f'{world.labels_from!r}'
        )
    if world.misaligned and world.labels_from != 'both':
        raise ValueError(
            'misaligned clips need labels from both modalities, got '
            f'labels_from={world.labels_from!r}'
        )
    jobs: list[tuple[str, int]] = []
    texts = {'classes.txt': '\n'.join([*class_names(world.labels_from), ''])}
    for factor, values in FACTORS.items():
        texts[f'classes_{factor}.txt'] = '\n'.join([*values, ''])
    counts = tuple(len(values) for values in FACTORS.values())
    for split, size in sizes.items():
        events = balanced_labels(size, _rng(seed, split))
        factors = np.unravel_index(events, counts)
        seen = dict(zip(FACTORS, factors, strict=True))
        names = [f'{split}_{i:05d}.mp4' for i in range(size)]
        labels = np.zeros(size, int)
        for factor in LABEL_FACTORS[world.labels_from]:
            labels = labels * len(FACTORS[factor]) + seen[factor]
        rng = _rng(seed, split, 'audio')
        other = rng.integers(len(PITCHES), size=size)
        wrong = rng.random(size) < world.misaligned
        seen['pitch'] = np.where(wrong, other, seen['pitch'])
        drawn = np.ravel_multi_index(tuple(seen.values()), counts)
        jobs += zip(names, drawn, strict=True)
        texts[f'{split}.csv'] = _table(file=names, label=labels)
        for factor, values in seen.items():
            texts[f'{split}_{factor}.csv'] = _table(file=names, label=values)
        if split == 'test':
            order = shuffled_audio(events, _rng(seed, split, 1))
            texts['test_shuffled_audio.csv'] = _table(
                file=names, audio=[names[i] for i in order], label=labels
            )
    root = Path(folder)
    (root / 'videos').mkdir(parents=True, exist_ok=True)
    write_texts({str(root / name): text for name, text in texts.items()})
    work = partial(_write_one, root / 'videos', seed, world)
    # Threads: the encoders and numpy work outside of Python's lock, and new
    # processes would spend longer on imports than on drawing.
    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(work, jobs))


def balanced_labels(size: int, rng: np.random.Generator) -> np.ndarray:
    """Class indices in random order, each (nearly) equally often."""
    return rng.permutation(np.arange(size) % len(class_names()))


def shuffled_audio(
    labels: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """For every clip the clip whose audio it gets.

    Each audio track is used once, none by its own clip, and within each
    class the pitches are as balanced as the set is: the audio says nothing
    about the class.  Returns indices into the clips, (num_clips,).
    """
    pitches = np.array([factors_of(label)[2] for label in labels])
    num_pitches = len(FACTORS['pitch'])
    # Deal clips out class by class, audio pitch by pitch in turn.
    clips = np.lexsort((rng.random(len(labels)), labels))
    turn = np.empty(len(labels))
    for pitch in range(num_pitches):
        mine = rng.permutation(np.flatnonzero(pitches == pitch))
        turn[mine] = np.arange(len(mine)) + pitch / num_pitches
    tracks = np.argsort(turn)
    for i in np.flatnonzero(clips == tracks):
        j = (i + num_pitches) % len(clips)  # the next clip of that turn
        tracks[[i, j]] = tracks[[j, i]]
    order = np.empty(len(labels), dtype=np.int64)
    order[clips] = tracks
    return order


def _write_one(folder: Path, seed: int, world: ToyWorld, job: tuple) -> None:
    """Draw and write one clip; the name alone seeds it."""
    name, label = job
    rng = _rng(seed, name)
    frames = draw_frames(label, world, rng)
    audio = draw_audio(label, world, rng)
    path = str(folder / name)
    write_clip(path, frames, world.fps, audio, world.sample_rate)


def _table(**columns: Sequence) -> str:
    rows = zip(*columns.values(), strict=True)
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    return annotation_text('toy', list(columns), cells)


def _rng(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the seed and the names only."""
    text = '/'.join(str(name) for name in names).encode()
    return np.random.default_rng([seed, *text])
