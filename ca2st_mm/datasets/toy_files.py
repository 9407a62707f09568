# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Writing the toy world to disk: clips and annotation files."""

import csv
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from mmengine.utils import mkdir_or_exist

from .media_writer import write_clip
from .toy_world import (
    FACTORS,
    ToyWorld,
    class_names,
    draw_frames,
    draw_sound,
    factors_of,
)

SPLITS = ('train', 'val', 'test')


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
    ``<split>_shuffled_sound.csv`` (test only) in which every clip sounds
    like another one, and ``classes.txt`` and ``classes_<factor>.txt``.

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
    mkdir_or_exist(osp.join(folder, 'videos'))
    _write_lines(folder, 'classes.txt', class_names())
    for factor, values in FACTORS.items():
        _write_lines(folder, f'classes_{factor}.txt', values)
    jobs = []
    for split, size in sizes.items():
        labels = balanced_labels(size, _rng(seed, split))
        names = [f'{split}_{i:05d}.mp4' for i in range(size)]
        jobs += zip(names, labels, strict=False)
        _write_lists(folder, split, names, labels)
        if split == 'test':
            order = shuffled_sound(labels, _rng(seed, split, 1))
            _write_csv(
                osp.join(folder, 'test_shuffled_sound.csv'),
                ('file', 'audio', 'label'),
                [
                    (n, names[o], c)
                    for n, o, c in zip(names, order, labels, strict=False)
                ],
            )
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


def shuffled_sound(
    labels: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """For every clip the clip it borrows its sound from.

    Each sound is used once, none by its own clip, and within each class
    the borrowed pitches are as balanced as the set is: the sound says
    nothing about the class.

    Args:
        labels: Class index of every clip.
        rng: Source of the order.

    Returns:
        Indices into the clips, (num_clips,).
    """
    pitches = np.array([factors_of(label)[2] for label in labels])
    num_pitches = len(FACTORS['pitch'])
    # Deal clips out class by class, sounds pitch by pitch in turn.
    clips = np.lexsort((rng.random(len(labels)), labels))
    turn = np.empty(len(labels))
    for pitch in range(num_pitches):
        mine = rng.permutation(np.flatnonzero(pitches == pitch))
        turn[mine] = np.arange(len(mine)) + pitch / num_pitches
    sounds = np.argsort(turn)
    for i in np.flatnonzero(clips == sounds):
        j = (i + num_pitches) % len(clips)  # the next clip of that turn
        sounds[[i, j]] = sounds[[j, i]]
    order = np.empty(len(labels), dtype=np.int64)
    order[clips] = sounds
    return order


def _write_one(folder: str, seed: int, world: ToyWorld, job: tuple) -> None:
    """Draw and write one clip; the name alone seeds it."""
    name, label = job
    rng = _rng(seed, name)
    frames = draw_frames(label, world, rng)
    sound = draw_sound(label, world, rng)
    path = osp.join(folder, 'videos', name)
    write_clip(path, frames, world.fps, sound, world.sample_rate)


def _write_lists(
    folder: str, split: str, names: list[str], labels: Sequence[int]
) -> None:
    """The lists of one split: by class and by each factor."""
    path = osp.join(folder, f'{split}.csv')
    _write_csv(path, ('file', 'label'), zip(names, labels, strict=False))
    for index, factor in enumerate(FACTORS):
        path = osp.join(folder, f'{split}_{factor}.csv')
        values = [factors_of(label)[index] for label in labels]
        _write_csv(path, ('file', 'label'), zip(names, values, strict=False))


def _write_csv(path: str, header: tuple, rows: Sequence) -> None:
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)


def _write_lines(folder: str, name: str, lines: Sequence[str]) -> None:
    with open(osp.join(folder, name), 'w', encoding='utf-8') as file:
        file.writelines(f'{line}\n' for line in lines)


def _rng(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the seed and the names only."""
    text = '/'.join(str(name) for name in names).encode()
    return np.random.default_rng([seed, *text])
