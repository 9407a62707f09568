# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention on a file: colours and sound stand where they belong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from figure_inputs import ROOT, is_png, run_figure
from mmengine.config import Config

from ca2st_mm.apis import Recognizer, Views
from ca2st_mm.apis.models import build_model
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.toy import ToyWorld, write_toy_set
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.models.layers.tokens import TokenGrid, TokenSpec
from ca2st_mm.visualization.attention import (
    Point,
    attention_views,
    middle_view,
    query_of,
    read_attention,
)
from ca2st_mm.visualization.attention_scene import (
    Scene,
    paint,
    scene_of,
    spread,
)
from ca2st_mm.visualization.style import FigureInputError

PICTURE = TokenGrid(2, 3, 4, 4)
SOUND = TokenGrid(2, 5, 16, 10, 'spectrogram')
SCENE = Scene(
    np.zeros((8, 8, 12, 3), np.uint8),
    np.arange(8) / 4,
    np.zeros((56, 26)),
    (1.0, 3.0),
    None,
)


def test_heat_lies_over_the_patches_of_its_position():
    heat = np.zeros(6)
    heat[4] = 5  # row 1, column 1
    over = spread(heat, PICTURE, (8, 12))
    assert np.unravel_index(over.argmax(), over.shape)[0] >= 4
    rows, columns = np.nonzero(over > 2.6)
    assert (rows.min(), columns.min(), columns.max()) == (4, 4, 7)
    # Overlapping patches: column 2 has its centre at frame 2 * 10 + 8.
    heat = np.zeros(10)
    heat[2] = 1
    over = spread(heat, SOUND, (26, 56))
    assert over.shape == (26, 56)
    weights = over.sum(axis=0)
    assert weights @ (np.arange(56) + 0.5) / weights.sum() == pytest.approx(28)


def test_colour_begins_at_an_even_look():
    picture = np.full((1, 3, 3), 100, np.uint8)
    painted = paint(picture, np.array([[0.5, 1.0, 2.0]]), 2.0)
    assert (painted[0, 0] == painted[0, 1]).all()
    assert painted[0, 2].sum() > painted[0, 1].sum()


@pytest.mark.parametrize(
    ('point', 'steps', 'positions'),
    [
        (Point(), None, None),
        (Point(patch=(1, 2)), None, [5]),
        (Point(second=0.8), [1], None),
        (Point(1.75, (0, 1)), [3], [1]),
    ],
)
def test_a_point_is_a_step_and_a_patch(point, steps, positions):
    query = query_of(point, TokenSpec(4, 4, 6), PICTURE, SCENE)
    assert query.steps == steps and query.positions == positions


def test_a_moment_is_a_column_of_a_spectrogram():
    query = query_of(Point(2.0, (9, 9)), TokenSpec(4, 1, 10), SOUND, SCENE)
    assert query.positions == [2, 7]
    for grid in (None, SOUND):
        query = query_of(Point(patch=(0, 0)), TokenSpec(4, 1, 10), grid, SCENE)
        assert query.positions is None


@pytest.mark.parametrize(
    ('point', 'grid', 'said'),
    [
        (Point(patch=(2, 0)), PICTURE, 'no patch 2,0; rows are 0 to 1'),
        (Point(9.0), PICTURE, 'outside of the frames'),
        (Point(0.5), SOUND, 'outside of the sound'),
    ],
)
def test_a_point_outside_is_refused(point, grid, said):
    with pytest.raises(FigureInputError, match=said):
        query_of(point, TokenSpec(4, 4, 6), grid, SCENE)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """Config, checkpoint and a clip."""
    folder = tmp_path_factory.mktemp('attention')
    write_toy_set(str(folder), dict(test=1), world=ToyWorld(size=32))
    # Not dumped: MMEngine would sort the ends of the links.
    config = folder / 'config.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs" / "toy" / "ca2st_toy.py")!r}\n'
        f'test_dataloader = dict(dataset=dict(data_root={str(folder)!r}))\n'
    )
    weights = build_model(Config.fromfile(config)).state_dict()
    torch.save(dict(state_dict=weights, meta={}), folder / 'w.pth')
    [clip] = folder.rglob('*.mp4')
    return config, folder / 'w.pth', clip


@pytest.fixture(scope='module')
def recognizer(toy):
    return Recognizer.from_config(*toy[:2])


def test_views_are_figures_by_name(recognizer, toy):
    figures = attention_views(
        recognizer, toy[2], Point(0.5, (1, 1)), layers=[0, 1]
    )
    assert len(figures) == 9
    assert {'spatial_self', 'temporal_from_audio'} <= set(figures)
    title = figures['temporal_self'].get_suptitle()
    assert 'patch 1,1 at 0.58 s' in title or 'patch 1,1 at 0.42 s' in title
    layers = [
        axes.get_ylabel().split('\n')[0]
        for axes in figures['spatial_from_audio'].axes
    ]
    assert [name for name in layers if name.startswith('layer')] == [
        'layer 1',
    ]


def test_the_scene_is_what_the_model_read(recognizer, toy):
    scene = read_attention(recognizer, toy[2], layers=[0]).stage.scene
    assert scene.frames.shape == (16, 32, 32, 3)
    assert scene.seconds == pytest.approx(np.arange(16) / 12)
    assert scene.mels.shape == (128, 64)
    assert scene.window[1] - scene.window[0] == pytest.approx(1.3, abs=0.03)


def test_the_answer_is_the_same_after_attention_was_read(recognizer, toy):
    sample = recognizer.prepare(str(toy[2]))
    before = recognizer.logits([sample])['label']
    read_attention(recognizer, toy[2])
    assert torch.equal(recognizer.logits([sample])['label'], before)


def test_command_writes_pictures_and_a_video_with_sound(toy, tmp_path):
    names = ['audio_from_spatial', 'spatial_from_audio']
    out = ['--out', tmp_path, '--layers', 1, '--video', '--only', *names]
    assert not run_figure('attention', *toy, *out)
    assert sorted(path.stem for path in tmp_path.glob('*.png')) == names
    assert is_png(tmp_path / 'audio_from_spatial.png')
    video = str(tmp_path / 'attention.mp4')
    reader = PyAVReader(video)
    assert reader.num_frames == pytest.approx(16, abs=1)
    first, last = reader.read([0, reader.num_frames - 1])
    reader.close()
    # The frames go on, and the line over the sound.
    for panel in np.split(np.abs(first.astype(int) - last), 2, axis=1):
        assert panel.max() > 30
    ours, theirs = read_audio(video), read_audio(str(toy[2]))
    loud = [np.abs(s.waveform).mean() for s in (ours, theirs)]
    assert loud[0] == pytest.approx(loud[1], rel=0.1)


def test_bad_choices_end_in_one_sentence(toy, capsys):
    for choice, said in (
        (['--layers', 5], 'the layers 0 to 2'),
        (['--view', 3], 'the views are 0 to 0, not 3'),
        (['--at', 30], '30.0 s is outside'),
        (
            ['--only', 'x'],
            "no 'x' in these layers; the model has spatial_self",
        ),
    ):
        assert run_figure('attention', *toy, *choice) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ') and said in error


def sample_of(clip, seconds, windows=None, times=None):
    """A prepared sample with the given clips, three crops of each."""
    seconds = np.asarray(seconds, float)
    views = 3 * len(seconds)
    inputs = dict(imgs=torch.zeros(views, 3, seconds.shape[1], 4, 4))
    if windows is not None:
        inputs['audios'] = torch.zeros(views, 1, 40, 4)
    if times is not None:
        inputs['audios_times'] = torch.tensor(times)
        inputs['imgs_times'] = torch.tensor(np.tile(seconds - 0.1, (3, 1)))
    seen = Views(None, seconds, windows, True)
    return dict(
        inputs=inputs,
        data_samples=SimpleNamespace(views=seen, source=str(clip)),
    )


def test_the_view_is_the_middle_crop_of_the_nearest_clip():
    views = Views(None, np.array([[0.0, 1], [4, 5], [8, 9]]), None, None)
    # Nine views: clips run faster than crops.
    assert middle_view(views, 9, None) == 4
    assert middle_view(views, 9, 0.5) == 3
    assert middle_view(views, 9, 30.0) == 5
    assert middle_view(views, 3, 6.4) == 1


def test_each_view_has_its_own_times_and_window(toy):
    heard = np.array([[0.1, 0.5], [0.6, 0.9]])  # without padding
    later, sooner = [0.5, 0.9], [0.0, 0.4]  # their zero is at 0.1 s
    seconds = [[0.6, 0.8], [0.1, 0.3]]
    sample = sample_of(toy[2], seconds, heard, [later, sooner] * 3)
    for view, window, shown in (
        (0, (0.6, 1.0), [0.6, 0.8]),
        (3, (0.1, 0.5), [0.1, 0.3]),
    ):
        scene = scene_of(sample, view)
        assert scene.window == pytest.approx(window)
        assert scene.seconds == pytest.approx(shown)
        assert scene.sound.start == pytest.approx(window[0], abs=0.01)


def test_without_times_a_window_is_known_if_all_of_it_was_heard(toy):
    seconds = [[0.1, 0.3]]
    whole, padded = np.array([[0.1, 0.5]]), np.array([[0.1, 0.3]])
    assert scene_of(sample_of(toy[2], seconds, whole), 1).window == (0.1, 0.5)
    assert scene_of(sample_of(toy[2], seconds, padded), 1).window is None


def test_a_model_that_does_not_listen_still_has_the_sound_of_its_frames(toy):
    scene = scene_of(sample_of(toy[2], [[0.25, 0.5, 0.75]]), 0)
    assert scene.mels is None and scene.window is None
    length = len(scene.sound.waveform) / scene.sound.sample_rate
    assert scene.sound.start == pytest.approx(0.25, abs=0.01)
    assert length == pytest.approx(0.75, abs=0.01)
