# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""300 predictions and 2,000 opened files leave nothing behind."""

import gc
import os
from pathlib import Path

import pytest

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.video import PyAVReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not Path('/proc/self/statm').exists(), reason='needs /proc (Linux)'
    ),
]
ROUNDS = 10


def held():
    """Resident MB, open files and threads of this process."""
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    counts = (len(os.listdir(f'/proc/self/{x}')) for x in ('fd', 'task'))
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6, *counts


def open_and_read(clip, broken):
    """Files that are read and closed, only dropped, and refused."""
    with PyAVReader(clip) as video:
        video.read([0, video.num_frames - 1])
    PyAVReader(clip)
    read_audio(clip)
    for read in (PyAVReader, read_audio):
        with pytest.raises(MediaError):
            read(broken)


@pytest.mark.parametrize('what', ['30 predictions', '40 x 5 opens'])
def test_memory_files_and_threads_stay(recognizer, clip, broken, what):
    """The first round fills caches."""
    seen = []
    for _ in range(ROUNDS):
        if what == '30 predictions':
            for _ in range(30):
                recognizer.predict(clip)
        else:
            for _ in range(40):
                open_and_read(clip, broken)
        seen.append(held())
    print(what, 'a round:', seen)
    (first, *counts), (last, *final) = seen[0], seen[-1]
    assert last - first < 10 and final == counts
