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

Position, size, colour, background, speed, drift, noise, loudness, harmonics,
onset and phase vary at random and independently of the class.
"""

import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from mmengine.utils import mkdir_or_exist

from ca2st_mm.utils.text_files import write_texts

from .manifest import manifest_text
from .media_writer import write_clip

SPLITS = ('train', 'val', 'test')
SHAPES = ('disc', 'cross')
DIRECTIONS = ('left', 'right')
PITCHES = {'low': 260.0, 'middle': 620.0, 'high': 1480.0}  # Hz
FACTORS = dict(shape=SHAPES, direction=DIRECTIONS, pitch=tuple(PITCHES))


class ToyWorld(NamedTuple):
    """Sizes of the clips.

    Attributes:
        size: Height and width, pixels (even; decord cannot read 48).
        num_frames: Frames of a clip.
        fps: Frames a second.
        sample_rate: Samples a second of the audio.
    """

    size: int = 64
    num_frames: int = 16
    fps: int = 12
    sample_rate: int = 16000


def class_names() -> tuple[str, ...]:
    """Names of the classes, in the order of their indices."""
    return tuple(
        f'{shape} {direction} {pitch}'
        for shape in SHAPES
        for direction in DIRECTIONS
        for pitch in PITCHES
    )


def factors_of(label: int) -> tuple[int, int, int]:
    """Shape, direction and pitch index of a class.

    >>> class_names()[7], factors_of(7)
    ('cross left middle', (1, 0, 1))

    Args:
        label: Class index.
    """
    sizes = tuple(len(values) for values in FACTORS.values())
    return tuple(int(i) for i in np.unravel_index(label, sizes))


def draw_frames(
    label: int, world: ToyWorld, rng: np.random.Generator
) -> np.ndarray:
    """The frames of a clip.

    Args:
        label: Class index.
        world: Sizes.
        rng: Source of everything that is not the class.

    Returns:
        RGB uint8, (num_frames, size, size, 3).
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
    masks = np.stack(
        [
            _mask(SHAPES[shape], size, radius, c)
            for c in zip(x, y, strict=False)
        ]
    )[..., None]
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
    """The audio of a clip.

    Args:
        label: Class index.
        world: Sizes.
        rng: Source of everything that is not the class.

    Returns:
        Mono float32 in [-1, 1], (num_samples,).
    """
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
    ``..._pitch.csv`` with one factor as label,
    ``<split>_shuffled_sound.csv`` (test only) in which every clip has the
    audio of another one, and ``classes.txt`` and ``classes_<factor>.txt``.

    Args:
        folder: Where to write.
        sizes: Number of clips of each split.
        seed: Same seed, same files.
        world: Sizes of the clips.
        num_workers: Threads.

    Raises:
        ValueError: If a split is unknown.
    """
    unknown = set(sizes) - set(SPLITS)
    if unknown:
        raise ValueError(f'Unknown splits {sorted(unknown)}, not {SPLITS}.')
    jobs: list[tuple[str, int]] = []
    texts = {'classes.txt': _lines(class_names())}
    for factor, values in FACTORS.items():
        texts[f'classes_{factor}.txt'] = _lines(values)
    for split, size in sizes.items():
        labels = balanced_labels(size, _rng(seed, split))
        names = [f'{split}_{i:05d}.mp4' for i in range(size)]
        jobs += zip(names, labels, strict=True)
        texts[f'{split}.csv'] = _manifest(file=names, label=labels)
        for index, factor in enumerate(FACTORS):
            values = [factors_of(label)[index] for label in labels]
            texts[f'{split}_{factor}.csv'] = _manifest(
                file=names, label=values
            )
        if split == 'test':
            order = shuffled_audio(labels, _rng(seed, split, 1))
            texts['test_shuffled_sound.csv'] = _manifest(
                file=names, audio=[names[i] for i in order], label=labels
            )
    mkdir_or_exist(osp.join(folder, 'videos'))
    write_texts({osp.join(folder, n): text for n, text in texts.items()})
    work = partial(_write_one, folder, seed, world or ToyWorld())
    # Threads: the encoders and numpy work outside of Python's lock, and new
    # processes would spend longer on imports than on drawing.
    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(work, jobs))


def balanced_labels(size: int, rng: np.random.Generator) -> np.ndarray:
    """Class indices in random order, each (nearly) equally often.

    Args:
        size: Number of clips.
        rng: Source of the order.
    """
    return rng.permutation(np.arange(size) % len(class_names()))


def shuffled_audio(
    labels: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """For every clip the clip whose audio it gets.

    Each audio track is used once, none by its own clip, and within each
    class the pitches are as balanced as the set is: the audio says nothing
    about the class.

    Args:
        labels: Class index of every clip.
        rng: Source of the order.

    Returns:
        Indices into the clips, (num_clips,).
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


def _write_one(folder: str, seed: int, world: ToyWorld, job: tuple) -> None:
    """Draw and write one clip; the name alone seeds it."""
    name, label = job
    rng = _rng(seed, name)
    frames = draw_frames(label, world, rng)
    audio = draw_audio(label, world, rng)
    path = osp.join(folder, 'videos', name)
    write_clip(path, frames, world.fps, audio, world.sample_rate)


def _manifest(**columns: Sequence) -> str:
    rows = zip(*columns.values(), strict=True)
    names = list(columns)
    return manifest_text(
        'toy', names, [dict(zip(names, row, strict=True)) for row in rows]
    )


def _lines(lines: Sequence[str]) -> str:
    return ''.join(f'{line}\n' for line in lines)


def _rng(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the seed and the names only."""
    text = '/'.join(str(name) for name in names).encode()
    return np.random.default_rng([seed, *text])
