# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The toy world: readable, balanced, repeatable, honest."""

import csv
from collections import Counter

import numpy as np
import pytest
from tool_runs import run_tool

from ca2st_mm.datasets import AudioVisualDataset, toy
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.toy import (
    FACTORS,
    PITCHES,
    ToyWorld,
    balanced_labels,
    class_names,
    draw_audio,
    draw_frames,
    factors_of,
    posterior,
    shuffled_audio,
    write_toy_set,
)
from ca2st_mm.datasets.transforms import (
    DecodeVideo,
    OpenVideo,
    SegmentSample,
)

SIZES = dict(train=3, val=2, test=12)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('toy')
    write_toy_set(str(path), SIZES, seed=3)
    return path


def frames_of(path):
    out = OpenVideo()(dict(filename=str(path)))
    return np.stack(DecodeVideo()(SegmentSample(16)(out))['imgs'])


def test_lists_read_and_agree(folder):
    def read(name, classes):
        return AudioVisualDataset(
            name,
            [],
            dict(video='videos'),
            data_root=str(folder),
            classes=classes,
            serialize_data=False,  # which takes a second each
        )

    for split, size in SIZES.items():
        main = read(f'{split}.csv', 'classes.txt')
        assert len(main) == size
        for index, factor in enumerate(FACTORS):
            part = read(f'{split}_{factor}.csv', f'classes_{factor}.txt')
            for i in range(size):
                whole, piece = main.get_data_info(i), part.get_data_info(i)
                assert whole['filename'] == piece['filename']
                assert factors_of(whole['label'])[index] == piece['label']
    path = main.get_data_info(0)['filename']
    assert frames_of(path).shape == (16, 64, 64, 3)
    audio = read_audio(path)
    assert audio.sample_rate == 16000 and audio.start == 0
    assert len(audio.waveform) / 16000 == pytest.approx(16 / 12, abs=0.1)


def test_the_seed_decides(folder, tmp_path):
    write_toy_set(str(tmp_path), dict(train=3, test=12), seed=3)
    for path in sorted(tmp_path.rglob('*.*')):
        again = folder / path.relative_to(tmp_path)
        assert path.read_bytes() == again.read_bytes()
    write_toy_set(str(tmp_path), dict(train=3), seed=4)
    name = 'train.csv'
    assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()


@pytest.mark.parametrize('size', [7, 24, 96, 97, 180, 192])
def test_shuffled_audio_says_nothing(size):
    rng = np.random.default_rng(size)
    labels = balanced_labels(size, rng)
    counts = Counter(labels.tolist())
    assert max(counts.values()) - min(counts.values(), default=0) <= 1
    order = shuffled_audio(labels, rng)
    assert sorted(order) == list(range(size))
    assert np.all(order != np.arange(size))
    pitch = np.array([factors_of(label)[2] for label in labels])
    if size % len(class_names()) == 0 and size >= 96:
        table = np.zeros((len(class_names()), len(PITCHES)))
        np.add.at(table, (labels, pitch[order]), 1)
        assert table.max() - table.min() <= 2
    if size % (len(class_names()) * len(PITCHES)) == 0:
        assert np.mean(pitch == pitch[order]) == 1 / len(PITCHES)
    if size >= 96:
        agree = np.mean(pitch == pitch[order])
        assert agree == pytest.approx(1 / len(PITCHES), abs=0.08)


def centre(frames):
    """Horizontal centre of the bright shape in each frame."""
    bright = frames.max(axis=-1).astype(float)
    weight = np.maximum(bright - 150, 0).sum(axis=1)
    return (weight * np.arange(frames.shape[2])).sum(1) / weight.sum(1)


def test_classes_are_seen_and_heard():
    """The direction in the order of the frames, and only there."""
    rng, world = np.random.default_rng(0), ToyWorld()
    means = {'left': [], 'right': []}
    for label in [*range(len(class_names()))] * 3:
        _, direction, pitch = class_names()[label].split()
        x = centre(draw_frames(label, world, rng))
        sign = 1 if direction == 'right' else -1
        assert np.mean(np.sign(np.diff(x)) == sign) > 0.8
        means[direction].append(x[1::2].mean())
        audio = draw_audio(label, world, rng)
        spectrum = np.abs(np.fft.rfft(audio))
        freqs = np.fft.rfftfreq(len(audio), 1 / world.sample_rate)
        loudest = freqs[spectrum.argmax()]
        assert loudest == pytest.approx(PITCHES[pitch], rel=0.12)
    gap = np.mean(means['left']) - np.mean(means['right'])
    spread = np.std(means['left']) / np.sqrt(len(means['left']) / 2)
    assert abs(gap) < 3 * spread


def column(path):
    with open(path, newline='') as file:
        return [int(row['label']) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    'world',
    [
        ToyWorld(size=32, labels_from='video'),
        ToyWorld(size=32, labels_from='audio'),
        ToyWorld(size=32, misaligned=0.48),
    ],
)
def test_labels_follow_the_factors_that_they_come_from(
    world, tmp_path, monkeypatch
):
    drawn = {}
    monkeypatch.setattr(
        toy, '_write_one', lambda *job: drawn.update([job[-1]])
    )
    write_toy_set(str(tmp_path), dict(test=1200), world=world)
    names = (tmp_path / 'classes.txt').read_text().splitlines()
    labels = column(tmp_path / 'test.csv')
    seen = {f: column(tmp_path / f'test_{f}.csv') for f in FACTORS}
    # What is drawn is what the lists of the factors say.
    assert [factors_of(drawn[name]) for name in sorted(drawn)] == [
        *zip(*seen.values(), strict=True)
    ]
    exact = posterior(seen, len(labels), world)
    true = exact[np.arange(len(labels)), labels]
    assert len(names) == exact.shape[1] == len(set(labels))
    if not world.misaligned:
        assert (true == 1).all()
        return
    agree = [FACTORS['pitch'][p] for p in seen['pitch']]
    agree = np.mean(
        [names[c].endswith(p) for c, p in zip(labels, agree, strict=True)]
    )
    assert agree == pytest.approx(1 - 0.48 * 2 / 3, abs=0.06)
    heard = np.bincount(seen['pitch']) / len(labels)
    assert heard == pytest.approx([1 / 3] * 3, abs=0.06)
    assert sorted(set(true.round(6))) == [0.16, 0.68]


def test_a_data_set_is_not_replaced_unasked(tmp_path, capsys):
    few = ('--train', 1, '--val', 1, '--test', 12, '--workers', 1)
    make = ('data/make_toy.py', tmp_path, *few)
    assert run_tool(*make) == 0
    before = (tmp_path / 'test.csv').read_bytes()
    assert run_tool(*make, '--seed', 1) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert (tmp_path / 'test.csv').read_bytes() == before
    assert run_tool(*make, '--seed', 1, '--overwrite') == 0
    assert (tmp_path / 'test.csv').read_bytes() != before


@pytest.mark.parametrize(
    'change', [dict(labels_from='sound'), dict(labels_from='video')]
)
def test_impossible_worlds_are_refused(change, tmp_path):
    world = ToyWorld(misaligned=0.5, **change)
    with pytest.raises(ValueError, match='labels_from'):
        write_toy_set(str(tmp_path), {}, world=world)
