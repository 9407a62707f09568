# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small media files and, through the preparers, annotation files over them."""

import shutil
from pathlib import Path

import numpy as np
import soundfile
from benchmark_annotations import write_annotations
from benchmark_files import FILES, arguments, read

from ca2st_mm.datasets.benchmarks import BENCHMARKS
from ca2st_mm.datasets.media_writer import write_clip

FPS, RATE = 25, 24000
SECONDS = 4
# A benchmark, a list in FILES, and further lists with the same text.
LISTS = """
activitynet activity_net.v1-3.min.json
epic_kitchens_100 EPIC_100_validation.csv EPIC_100_train.csv
epic_kitchens_100 EPIC_100_test_timestamps.csv
epic_sounds EPIC_Sounds_train.csv EPIC_Sounds_validation.csv
epic_sounds EPIC_Sounds_recognition_test_timestamps.csv
hd_epic HD_EPIC_Narrations.json
hd_epic_sounds HD_EPIC_Sounds.csv
kinetics400 val.csv train.csv
kinetics_sound my_test.txt my_train.txt
something_something_v2 val.csv train.csv
ucf101 trainlist01.txt testlist01.txt
vggsound test.csv train.csv
"""
# Lists that the metric of EPIC-KITCHENS-100 reads.
SUBSETS = {
    'EPIC_100_unseen_participant_ids_validation.csv': 'participant_id\nP01\n',
    'EPIC_100_tail_verbs.csv': 'verb\n0\n',
    'EPIC_100_tail_nouns.csv': 'noun\n2\n',
}
SILENT = 'abcdefghijk_000106_000116'  # of Kinetics
UNTRIMMED = ('activitynet', 'epic_kitchens_100')
OWN_AUDIO = ('epic_sounds',)


def write_world(root: Path) -> None:
    """Write annotations and media below ``root/data``, and prepare them."""
    originals = _originals(root)
    texts = {
        (name, file): text for (name, _, file), (text, _) in FILES.items()
    }
    for line in LISTS.strip().splitlines():
        name, *files = line.split()
        folder = root / 'data' / BENCHMARKS[name].folder / 'annotations'
        for file in files:
            _path(folder / file).write_text(texts[name, files[0]])
    for file, text in SUBSETS.items():
        folder = root / 'data/epic_kitchens100/annotations'
        (folder / file).write_text(text)
    for name, benchmark in BENCHMARKS.items():
        folder = root / 'data' / benchmark.folder
        for split, files in benchmark.lists.items():
            paths = [folder / 'annotations' / file for file in files]
            for path in filter(Path.is_file, paths):
                for clip in read(name, path, split)[1]:
                    _write_media(folder, name, clip, originals)
        write_annotations(
            benchmark,
            arguments(
                name,
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


def _write_media(folder: Path, benchmark: str, clip, originals: dict) -> None:
    """The video of a clip, and its audio file if it has one of its own."""
    stem = (clip.video if benchmark in UNTRIMMED else clip.names)[0]
    kind = '.avi' if stem.endswith('.avi') else '.mp4'
    path = _path(folder / 'videos' / f'{stem.removesuffix(kind)}{kind}')
    shutil.copyfile(originals['silent' if stem == SILENT else kind], path)
    if benchmark in OWN_AUDIO:
        shutil.copyfile(originals['.wav'], _path(folder / f'wav/{stem}.wav'))


def _path(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _originals(root: Path) -> dict:
    """One file of each kind; audio and frames change all the time."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (FPS * SECONDS, 6, 8, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    time = np.arange(RATE * SECONDS) / RATE
    tone = (0.4 * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype('f4')
    paths = {kind: str(root / f'a{kind}') for kind in ('.mp4', '.avi', '.wav')}
    paths['silent'] = str(root / 'silent.mp4')
    write_clip(paths['.mp4'], frames, FPS, tone, RATE)
    write_clip(paths['.avi'], frames, FPS, tone, RATE)
    write_clip(paths['silent'], frames, FPS)
    soundfile.write(paths['.wav'], tone, RATE)
    return paths
