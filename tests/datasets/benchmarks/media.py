# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small media files and, through the preparers, the manifests over them."""

import shutil
from pathlib import Path

import numpy as np
import soundfile
from excerpts import LISTS, MEDIA, OWN_AUDIO, SILENT, UNTRIMMED

from ca2st_mm.datasets.benchmarks import BENCHMARKS, Request, prepare
from ca2st_mm.datasets.media_writer import write_clip

FPS, RATE = 25, 24000
SECONDS = 3


def write_world(root: Path) -> None:
    """Write annotations and media below ``root/data``, and prepare them."""
    originals = _originals(root)
    for name, benchmark in BENCHMARKS.items():
        folder = root / 'data' / benchmark.folder
        for file, text in LISTS[name].items():
            _path(folder / 'annotations' / file).write_text(text)
        for file in MEDIA[name]:
            path = _path(folder / file)
            kind = 'silent' if path.name == SILENT else path.suffix.lower()
            shutil.copyfile(originals[kind], path)
        prepare(
            benchmark,
            Request(
                annotations=str(folder / 'annotations'),
                videos=str(folder / 'videos'),
                out=str(folder),
                audio_root=(
                    str(folder / 'wav') if name in OWN_AUDIO else None
                ),
                trimmed=name not in UNTRIMMED,
                allow_partial=True,
            ),
        )


def _path(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _originals(root: Path) -> dict:
    """One file of each kind; audio and frames change all the time."""
    rng = np.random.default_rng(0)
    shape = (FPS * SECONDS, 48, 64, 3)
    frames = np.repeat(
        np.repeat(rng.integers(0, 255, (shape[0], 6, 8, 3)), 8, 1), 8, 2
    ).astype(np.uint8)
    assert frames.shape == shape
    time = np.arange(RATE * SECONDS) / RATE
    tone = (0.4 * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype('f4')
    paths = {
        kind: str(root / f'original{kind}')
        for kind in ('.mp4', '.avi', '.wav')
    }
    paths['silent'] = str(root / 'silent.mp4')
    write_clip(paths['.mp4'], frames, FPS, tone, RATE)
    write_clip(paths['.avi'], frames, FPS, tone, RATE)
    write_clip(paths['silent'], frames, FPS)
    soundfile.write(paths['.wav'], tone, RATE)
    return paths
