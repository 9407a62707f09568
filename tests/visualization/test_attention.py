# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Attention on a file: weights, colours and audio are where they belong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from figure_inputs import ROOT, is_png, run_figure
from toy_recognizer import make_recognizer, write_clips

from ca2st_mm.apis import Views
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.models.layers.tokens import TokenGrid, TokenSpec
from ca2st_mm.visualization.attention import (
    Point,
    draw_views,
    paint,
    query_of,
    spread,
)
from ca2st_mm.visualization.attention_maps import (
    AttentionMap,
    ClipView,
    clip_view,
    middle_view,
    read_attention,
)
from ca2st_mm.visualization.style import FigureInputError

IMAGE = TokenGrid(2, 3, 4, 4)
SPECTROGRAM = TokenGrid(2, 5, 16, 10, 'spectrogram')
VIEW = ClipView(
    np.zeros((8, 8, 12, 3), np.uint8),
    np.arange(8) / 4,
    np.zeros((56, 26)),
    (1.0, 3.0),
    None,
)
A, B = TokenSpec(4, 3, 2, 1), TokenSpec(4, 5, 2)


def test_time_keeps_the_patch_and_moves_in_time():
    weights = torch.zeros(2, 3, 5)  # (Nq, Tq, Tk)
    weights[0, :, 4] = 1
    weights[1, :, 0] = 1
    weights[1, 2] = torch.tensor([0, 0, 1.0, 0, 0])
    found = AttentionMap(0, 'a', 'b', 'time', A, B, weights)
    assert found.name == 'a_from_b'
    expected = torch.zeros(5, 2)
    expected[4, 0] = 5
    expected[0, 1] = 10 / 3
    expected[2, 1] = 5 / 3
    assert torch.allclose(found.relative(), expected)
    expected = torch.zeros(5, 2)
    expected[2, 1] = 5
    assert torch.equal(found.relative([2], [1]), expected)
    rows = found.over_time()
    assert rows.shape == (3, 5)
    assert rows[2].tolist() == [0, 0, 0.5, 0, 0.5]


def test_space_keeps_the_step_and_moves_in_space():
    spec, other = TokenSpec(4, 3, 2), TokenSpec(4, 3, 4)
    weights = torch.zeros(3, 2, 4)  # (Tq, Nq, Nk)
    weights[:, :, 1] = 1
    weights[2, 0] = torch.tensor([0, 0, 0, 1.0])
    found = AttentionMap(0, 'a', 'b', 'space', spec, other, weights)
    assert found.relative()[1].tolist() == [0, 4, 0, 0]
    assert found.relative()[2].tolist() == [0, 2, 0, 2]
    alone = found.relative([2], [0])
    assert alone[2].tolist() == [0, 0, 0, 4] and not alone[:2].any()
    assert found.over_time() is None


def test_all_attends_from_anywhere_to_anywhere():
    spec, audio = TokenSpec(4, 2, 2), TokenSpec(4, 1, 6, 2)
    weights = torch.zeros(1, 4, 6)
    weights[0, :, 0] = 1
    weights[0, 3] = torch.tensor([0, 0, 0, 0, 0, 1.0])  # step 1, patch 1
    found = AttentionMap(0, 'a', 'b', 'all', spec, audio, weights)
    assert found.relative()[0].tolist() == [4.5, 0, 0, 0, 0, 1.5]
    assert found.relative([0])[0].tolist() == [6, 0, 0, 0, 0, 0]
    assert found.relative([1], [1])[0].tolist() == [0, 0, 0, 0, 0, 6]
    # Two rows of frequency, three columns of time.
    assert found.over_time(3).tolist() == [[1, 0, 0], [0.5, 0, 0.5]]


def test_prefix_tokens_are_queries_of_self_attention_and_not_shown():
    spec = TokenSpec(4, 2, 3, 1)
    weights = torch.full((2, 4, 4), 0.25)
    weights[0, 0] = torch.tensor([0.4, 0, 0.6, 0])  # the class token
    weights[0, 3] = torch.tensor([0, 1.0, 0, 0])  # patch 2
    found = AttentionMap(0, 'a', 'a', 'space', spec, spec, weights)
    assert found.name == 'a_self'
    assert found.relative()[0].tolist() == pytest.approx([0, 2.4, 0])
    assert found.relative(patches=[2])[0].tolist() == [4, 0, 0]
    assert found.relative().shape == (2, 3)


def test_attention_lies_over_its_patch():
    relative = np.zeros(6)
    relative[4] = 5  # row 1, column 1
    over = spread(relative, IMAGE, (8, 12))
    assert np.unravel_index(over.argmax(), over.shape)[0] >= 4
    rows, columns = np.nonzero(over > 2.6)
    assert (rows.min(), columns.min(), columns.max()) == (4, 4, 7)
    # Overlapping patches: column 2 has its centre at frame 2 * 10 + 8.
    relative = np.zeros(10)
    relative[2] = 1
    over = spread(relative, SPECTROGRAM, (26, 56))
    assert over.shape == (26, 56)
    weights = over.sum(axis=0)
    assert weights @ (np.arange(56) + 0.5) / weights.sum() == pytest.approx(28)


def test_colour_begins_at_uniform_attention():
    image = np.full((1, 3, 3), 100, np.uint8)
    painted = paint(image, np.array([[0.5, 1.0, 2.0]]), 2.0)
    assert (painted[0, 0] == painted[0, 1]).all()
    assert painted[0, 2].sum() > painted[0, 1].sum()


@pytest.mark.parametrize(
    ('point', 'grid', 'steps', 'patches'),
    [
        (Point(), IMAGE, None, None),
        (Point(patch=(1, 2)), IMAGE, None, [5]),
        (Point(second=0.8), IMAGE, [1], None),
        (Point(1.75, (0, 1)), IMAGE, [3], [1]),
        (Point(2.0, (9, 9)), SPECTROGRAM, None, [2, 7]),
        (Point(patch=(0, 0)), SPECTROGRAM, None, None),
        (Point(patch=(0, 0)), None, None, None),
    ],
)
def test_a_point_is_a_step_and_patches(point, grid, steps, patches):
    query = query_of(point, TokenSpec(4, 4, 6), grid, VIEW)
    assert (query.steps, query.patches) == (steps, patches)


@pytest.mark.parametrize(
    ('point', 'grid', 'said'),
    [
        (Point(patch=(2, 0)), IMAGE, 'no patch 2,0; rows are 0 to 1'),
        (Point(9.0), IMAGE, 'outside of the frames'),
        (Point(0.5), SPECTROGRAM, 'outside of the audio'),
    ],
)
def test_a_point_outside_is_refused(point, grid, said):
    with pytest.raises(FigureInputError, match=said):
        query_of(point, TokenSpec(4, 4, 6), grid, VIEW)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """Config, checkpoint and a clip."""
    folder = tmp_path_factory.mktemp('attention')
    [clip] = write_clips(folder, 1)
    config = folder / 'config.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs" / "toy" / "ca2st_toy.py")!r}\n'
        f'test_dataloader = dict(dataset=dict(data_root={str(folder)!r}))\n'
    )
    return config, folder / 'ca2st_toy.pth', clip


@pytest.fixture(scope='module')
def recognizer(toy):
    return make_recognizer(toy[2].parents[1])


def test_all_attention_of_a_clip_is_read(recognizer, toy):
    sample = recognizer.prepare(str(toy[2]))
    before = recognizer.logits([sample])['label']
    found = read_attention(recognizer, toy[2])
    experts = 'spatial', 'temporal', 'audio'
    assert set(found.maps) == {
        f'{a}_self' if a == b else f'{a}_from_{b}'
        for a in experts
        for b in experts
    }
    for name, maps in found.maps.items():
        # The links of the toy with its audio expert start at layer 1.
        late = 'audio' in name and not name.endswith('_self')
        assert [one.layer for one in maps] == list(range(1 + late, 4))
        for one in maps:
            spec = one.key_spec
            assert one.relative().shape == (spec.num_steps, spec.num_patches)
            grid = found.grids[one.key]
            assert grid.rows * grid.columns == spec.num_patches
            sums = one.weights.sum(-1)
            assert torch.allclose(sums, torch.ones(()), atol=1e-5)
    assert torch.equal(recognizer.logits([sample])['label'], before)
    some = read_attention(recognizer, toy[2], layers=[1], head=1)
    assert {m.layer for maps in some.maps.values() for m in maps} == {1}


def test_the_view_is_what_the_model_read(recognizer, toy):
    view = read_attention(recognizer, toy[2], layers=[1]).view
    assert view.frames.shape == (16, 32, 32, 3)
    assert view.seconds == pytest.approx(np.arange(16) / 12)
    assert view.mels.shape == (128, 64)
    assert view.window[1] - view.window[0] == pytest.approx(1.3, abs=0.03)


def test_views_are_figures_by_name(recognizer, toy):
    point = Point(0.5, (1, 1))
    attention = read_attention(recognizer, toy[2], layers=[2])
    figures = draw_views(attention, point)
    assert len(figures) == 9
    title = figures['temporal_self'].get_suptitle()
    assert 'patch 1,1 at 0.58 s' in title or 'patch 1,1 at 0.42 s' in title
    labels = [a.get_ylabel() for a in figures['spatial_from_audio'].axes]
    layers = [label.split('\n')[0] for label in labels if '×' in label]
    assert layers == ['layer 2']


def test_command_writes_figures_and_a_video_with_audio(
    toy, recognizer, tmp_path
):
    names = ['audio_from_spatial', 'spatial_from_audio']
    out = ['--out', tmp_path, '--layers', 2, '--video', '--only', *names]
    assert not run_figure('attention', *toy, *out)
    assert sorted(path.stem for path in tmp_path.glob('*.png')) == names
    assert is_png(tmp_path / 'audio_from_spatial.png')
    video = str(tmp_path / 'attention.mp4')
    reader = PyAVReader(video)
    assert reader.num_frames == pytest.approx(16, abs=1)
    first, last = reader.read([0, reader.num_frames - 1])
    reader.close()
    # The frames go on, and the line over the spectrogram.
    for panel in np.split(np.abs(first.astype(int) - last), 2, axis=1):
        assert panel.max() > 30
    ours, theirs = read_audio(video), read_audio(str(toy[2]))
    loud = [np.abs(s.waveform).mean() for s in (ours, theirs)]
    assert loud[0] == pytest.approx(loud[1], rel=0.1)


@pytest.mark.parametrize(
    ('choice', 'said'),
    [
        (dict(layers=[0]), 'layers are 1 to 3, not 0'),
        (dict(head=0), 'from 1, not 0'),
        (dict(head=9), 'heads and none of index 8'),
        (dict(view=0), 'the views are 1 to 1, not 0'),
    ],
)
def test_what_is_not_there_is_named(recognizer, toy, choice, said):
    with pytest.raises(FigureInputError, match=said):
        read_attention(recognizer, toy[2], **choice)


def test_bad_choices_end_in_one_sentence(toy, recognizer, capsys):
    assert run_figure('attention', *toy, '--only', 'x', '--layers', 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: there is no 'x'; the model has spatial_s")


def sample_of(clip, seconds, windows=None):
    """A prepared sample with the given clips, three crops of each."""
    seconds = np.asarray(seconds, float)
    views = 3 * len(seconds)
    inputs = dict(imgs=torch.zeros(views, 3, seconds.shape[1], 4, 4))
    if windows is not None:
        inputs['audios'] = torch.zeros(views, 1, 40, 4)
        windows = np.tile(windows, (3, 1))
    seen = SimpleNamespace(
        views=Views(None, seconds, None, True),
        audio_windows=windows,
        source=str(clip),
    )
    return dict(inputs=inputs, data_samples=seen)


def test_the_view_is_the_middle_crop_of_the_nearest_clip():
    views = Views(None, np.array([[0.0, 1], [4, 5], [8, 9]]), None, None)
    # Nine views: clips run faster than crops.
    assert middle_view(views, 9, None) == 4
    assert middle_view(views, 9, 0.5) == 3
    assert middle_view(views, 9, 30.0) == 5
    assert middle_view(views, 3, 6.4) == 1


def test_each_view_has_its_own_times_and_window(toy):
    seconds = [[0.6, 0.8], [0.1, 0.3]]
    windows = [[0.6, 1.0], [0.1, 0.5]]
    sample = sample_of(toy[2], seconds, windows)
    for number in (0, 3):
        clip = number % 2
        view = clip_view(sample, number)
        assert view.window == pytest.approx(windows[clip])
        assert view.seconds == pytest.approx(seconds[clip])
        assert view.audio.start == pytest.approx(windows[clip][0], abs=0.01)


def test_without_a_spectrogram_a_view_has_the_audio_of_its_frames(toy):
    view = clip_view(sample_of(toy[2], [[0.25, 0.5, 0.75]]), 0)
    assert view.mels is None and view.window is None
    length = len(view.audio.waveform) / view.audio.sample_rate
    assert view.audio.start == pytest.approx(0.25, abs=0.01)
    assert length == pytest.approx(0.75, abs=0.01)
