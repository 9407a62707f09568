# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Small media files and rows as the benchmarks' own files have them."""

import csv
import shutil
from pathlib import Path

import numpy as np
import soundfile

from ca2st_mm.datasets.media_writer import write_clip

FPS, RATE = 25, 24000
SECONDS = 3

# Rows of train and of evaluation; the last class shows a wrong class count.
K400 = 'file,label\n{}/jf7RDuUTrsQ.mp4,325\n{}/JTlatknwOrY_silent.mp4,399\n'
EK100 = (
    'file,start,end,verb,noun\n'
    'P01/videos/P01_11.MP4,0.0,1.89,0,2\n'
    'P18/videos/P18_01.MP4,1.56,2.45,96,299\n'
)
SOUNDS = (
    'file,audio,label\n'
    'clips/P01_11_0.mp4,wav/P01_11_0.wav,34\n'
    'clips/P01_11_1.mp4,wav/P01_11_1.wav,43\n'
)
VGG = 'file,label\nglLQrEijrKg_000300.mp4,3\n6jiO0tPLK7U_000090.mp4,308\n'
UCF = (
    'file,label\n'
    'ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi,0\n'
    'YoYo/v_YoYo_g25_c05.avi,100\n'
)
MANIFESTS = {
    'kinetics400/train.csv': K400.format('train', 'train'),
    'kinetics400/val.csv': K400.format('val', 'val'),
    'something_something_v2/train.csv': '66100.mp4 15\n84915.mp4 42\n',
    'something_something_v2/val.csv': '30152.mp4 128\n66100.mp4 173\n',
    # both instances are of one video
    'activitynet/train.csv': 'file,start,end,label\n'
    'v_4Lu8ECLHvK4.mp4,0.1,1.2,0\nv_4Lu8ECLHvK4.mp4,1.0,2.9,199\n',
    'activitynet/val.csv': 'file,start,end,label\n'
    'v_4Lu8ECLHvK4.mp4,0.1,1.2,0\nv_4Lu8ECLHvK4.mp4,1.0,2.9,199\n',
    'epic_kitchens100/train.csv': EK100,
    'epic_kitchens100/val.csv': EK100,
    'hd_epic/test.csv': 'file,verb,noun\n'
    'P01-20240202-110250-0.mp4,1,5\nP09-20240622-143219-7.mp4,96,299\n',
    'epic_sounds/train.csv': SOUNDS,
    'epic_sounds/val.csv': SOUNDS,
    'hd_epic_sounds/test.csv': 'file,label\n'
    'P01-20240202-110250-1200-56000.mp4,0\n'
    'P02-20240209-184316-480-90000.mp4,43\n',
    'vggsound/train.csv': VGG,
    'vggsound/test.csv': VGG,
    'kinetics_sound/train.csv': 'file,label\na_000001.mp4,0\nb.mp4,30\n',
    'kinetics_sound/test.csv': 'file,label\na_000001.mp4,0\nb.mp4,30\n',
    'ucf101/train_split1.csv': UCF,
    'ucf101/test_split1.csv': UCF,
}
LISTS = {
    'unseen_participant_ids_validation': 'participant_id\nP18\nP32\n',
    'tail_verbs': 'verb\n10\n96\n',
    'tail_nouns': 'noun\n56\n',
}


def write_world(root: Path) -> None:
    """Write manifests, lists and media below ``root/data``."""
    originals = _originals(root)
    for name, text in MANIFESTS.items():
        manifest = root / 'data' / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(text)
        for file in _files(text):
            path = manifest.parent / file
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = 'silent' if 'silent' in file else path.suffix.lower()
            shutil.copyfile(originals[kind], path)
    annotations = root / 'data/epic_kitchens100/annotations'
    annotations.mkdir()
    for name, text in LISTS.items():
        (annotations / f'EPIC_100_{name}.csv').write_text(text)


def _files(text: str) -> list:
    """Every file that a manifest or list names."""
    if not text.startswith('file'):
        return [line.split()[0] for line in text.splitlines()]
    rows = list(csv.DictReader(text.splitlines()))
    return [row[k] for row in rows for k in ('file', 'audio') if k in row]


def _originals(root: Path) -> dict:
    """One file of each kind; sound and picture change all the time."""
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
