# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Damaged files: data or a fault of the sample; never a crash or a hang."""

import multiprocessing
import os
import resource
import time

import numpy as np
import pytest
from numbered_media import CELLS, ffmpeg, make

from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.datasets.transforms import (
    CropAudio,
    DecodeVideo,
    FrameTimes,
    LoadAudio,
    OpenVideo,
    SegmentSample,
)

SECONDS = 30  # for one file
MEGABYTES = 1024  # above those of the imports, for all files of a process
NAMES = (
    *('h264_b2_g12.mp4', 'h264_b2_g12.mkv', 'h264_b2_g12.ts', 'mpeg2.mpg'),
    *('h264_b2_g12.flv', 'h264_b2_g12.avi', 'mpeg4_b2.avi', 'mpeg4_b2.mp4'),
    *('vp8.webm', 'vp9.webm', 'wmv2.wmv', 'av1.mp4', 'theora.ogv'),
    *('anim.gif', 'hevc_open.mp4', 'h264_open.ts', 'prores.mov'),
    *('fields.mp4', 'packed.avi', 'packed.mkv'),
)
AUDIO = ('tone.wav', 'tone.m4a', 'tone.mp3', 'tone.flac', 'tone.ogg')


@pytest.fixture(scope='module')
def seeds(tmp_path_factory):
    """Small whole files of many kinds, as (extension, bytes)."""
    folder = tmp_path_factory.mktemp('seeds')
    paths = [make(folder / name, CELLS.get(name, ()), 30) for name in NAMES]
    pieces = ('-movflags', 'frag_keyframe+empty_moov')
    paths.append(make(folder / 'pieces.mp4', pieces, 30))
    for name in AUDIO:
        ffmpeg('-i', paths[0], '-vn', folder / name)
        paths.append(folder / name)
    return [(path.suffix, path.read_bytes()) for path in paths]


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """One or a few changes of a kind that disks, networks and tools make."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        size = len(data)
        # Headers are short, and most of what can go wrong is in them.
        at = int(rng.integers(size if rng.random() < 0.5 else min(size, 2000)))
        length = int(rng.choice([1, 4, 64, 2000]))
        kind = rng.integers(7)
        if kind == 0:  # bits
            for place in rng.integers(0, size, length):
                data[place] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif kind == 2:
            data[at : at + length] = rng.bytes(len(data[at : at + length]))
        elif kind == 3:  # an absurd number
            extreme = rng.choice([b'\xff', b'\x7f', b'\x80', b'\x00'])
            data[at : at + 4] = extreme[:1] + b'\xff' * 3
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        else:
            del data[max(at, 100) :]
        if len(data) < 100:
            break
    return bytes(data)


def read(path: str) -> None:
    """All that a pipeline does with a file."""
    sample = dict(filename=path)
    steps = (OpenVideo(), SegmentSample(8, test_mode=True), DecodeVideo())
    try:
        for step in (*steps, FrameTimes()):
            sample = step(sample)
    except SampleFault:
        sample = dict(filename=path)
    try:
        sample = LoadAudio(sample_rate=16000)(sample)
        if 'imgs_times' in sample:
            CropAudio()(sample)
    except SampleFault:
        pass


def work(folder, seeds, numbers, sender) -> None:
    """Read damaged files and tell what was wrong, in a process of its own."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        extension, data = seeds[number % len(seeds)]
        path = folder / f'{number}{extension}'
        path.write_bytes(damage(data, np.random.default_rng(number)))
        sender.send((number, 'started'))
        try:
            read(str(path))
        except Exception as error:
            sender.send((number, f'{type(error).__name__}: {error}'))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (peak - usage) / 1024 > MEGABYTES:
            sender.send((number, f'{(peak - usage) / 1024:.0f} MB'))
            usage = peak
        path.unlink()
    sender.send((None, 'finished'))


def fuzz(folder, seeds, count) -> dict[int, str]:
    """What went wrong, by the number of the file."""
    fork = multiprocessing.get_context('fork')
    wrong, numbers = {}, range(count)
    while numbers:
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(
            target=work, args=(folder, seeds, numbers, sender)
        )
        child.start()
        sender.close()
        last, end = numbers[0], None
        try:
            while end is None:
                if not receiver.poll(SECONDS):
                    wrong[last] = 'hang'
                    break
                number, what = receiver.recv()
                last = last if number is None else number
                if what not in ('started', 'finished'):
                    wrong[last] = what
                end = True if what == 'finished' else None
        except EOFError:
            child.join()
            wrong[last] = f'exit status {child.exitcode}'
        child.kill()
        child.join()
        numbers = range(last + 1, count)
    return wrong


@pytest.mark.parametrize(
    'count', [150, pytest.param(4000, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(3000)
def test_fuzz(tmp_path, seeds, count):
    before = time.monotonic()
    assert fuzz(tmp_path, seeds, count) == {}
    assert time.monotonic() - before < max(2 * count, 60)
