# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A clip becomes names: the class that every door goes through."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from recognizer_files import FPS, ca2st_config, noise, save

from ca2st_mm import Recognizer
from ca2st_mm.apis import ArrayClip, publish
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.toy_world import class_names
from ca2st_mm.datasets.video import PyAVReader


def same(a, b, tolerance=1e-6):
    assert set(a) == set(b)
    for task in a:
        np.testing.assert_allclose(a[task], b[task], atol=tolerance, rtol=0)


def test_names_come_ranked_with_probabilities(recognizer, clip):
    [prediction] = recognizer.predict(clip, top_k=12)
    names, scores = zip(*prediction.ranked['label'], strict=True)
    assert sorted(names) == sorted(class_names())
    assert list(scores) == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    views = torch.from_numpy(prediction.logits['label'])
    assert views.shape == (2, 12)
    mean = views.softmax(-1).mean(0)
    best = class_names()[mean.argmax()]
    assert (names[0], scores[0]) == (best, pytest.approx(float(mean.max())))


def test_logits_and_predictions_are_of_the_same_forward(recognizer, clip):
    sample = recognizer.prepare(clip)
    logits = recognizer.logits([sample, sample])['label']
    assert logits.shape == (2, 2, 12)
    [prediction] = recognizer.classify([sample])
    same(dict(label=logits[0]), prediction.logits)


def test_a_verb_and_a_noun_make_an_action(recognizers, clip):
    [prediction] = recognizers['verb_noun'].predict(clip, top_k=12)
    ranked = {task: dict(pairs) for task, pairs in prediction.ranked.items()}
    assert list(ranked) == ['verb', 'noun', 'action']
    assert [len(pairs) for pairs in ranked.values()] == [2, 6, 12]
    product = ranked['verb']['verb 1'] * ranked['noun']['noun 3']
    assert ranked['action']['verb 1 noun 3'] == pytest.approx(product)


def test_a_batch_answers_like_one_at_a_time(recognizer, toy):
    clips = sorted((toy / 'videos').glob('test_*.mp4'))[:3]
    together = recognizer.predict(clips, batch_size=2)
    for path, prediction in zip(clips, together, strict=True):
        [alone] = recognizer.predict(path)
        same(alone.logits, prediction.logits, 1e-5)
        assert prediction.source == str(path)


def test_views_are_what_the_reader_gives(recognizer, clip):
    [prediction] = recognizer.predict(clip, start=0.5, end=1.2)
    views = prediction.views
    assert views.frames.shape == views.seconds.shape == (2, 16)
    with PyAVReader(clip) as reader:
        inside = [t for t in reader.frame_stamps if 0.5 <= t < 1.2]
    np.testing.assert_allclose(views.seconds, np.asarray(inside)[views.frames])
    assert views.has_sound
    assert 0.5 - 1e-4 <= views.sound.min() < views.sound.max() <= 1.2 + 1e-4


def test_arrays_answer_like_the_file(recognizer, clip):
    sound = read_audio(clip)
    with PyAVReader(clip) as reader:
        frames = reader.read(range(reader.num_frames))
        fps = reader.avg_fps
    # A file's sound starts where its track does; an array's at its start.
    silence = np.zeros(round(sound.start * sound.sample_rate), np.float32)
    waveform = np.append(silence, sound.waveform)
    arrays = ArrayClip(
        torch.from_numpy(frames),
        fps,
        (torch.from_numpy(np.stack([waveform] * 2)), sound.sample_rate),
    )
    span = dict(start=sound.start, end=1.0)
    [from_file], [from_arrays] = (
        recognizer.predict(source, **span) for source in (clip, arrays)
    )
    same(from_file.logits, from_arrays.logits, 1e-4)


def test_arrays_without_sound_follow_the_policy(recognizer, recognizers):
    clip = ArrayClip(noise(2), FPS, name='mine')
    with pytest.raises(NoAudioError, match='mine'):
        recognizer.predict(clip)
    [prediction] = recognizers['cast'].predict(clip)
    assert prediction.source == 'mine'
    assert prediction.views.has_sound is None


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(frames=noise(1) / 255), 'RGB uint8'),
        (dict(frames=noise(1)[..., :1]), 'RGB uint8'),
        (dict(frames=noise(1)[:0]), 'no frame'),
        (dict(fps=0), 'fps is above 0'),
    ],
)
def test_arrays_of_another_kind_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ArrayClip(**{**dict(frames=noise(1), fps=FPS), **change})


@pytest.mark.parametrize(
    'sound, message',
    [((np.zeros(9, np.int16), 16000), 'float'), ((np.zeros(9), 0), 'above')],
)
def test_a_waveform_of_another_kind_is_refused(recognizer, sound, message):
    with pytest.raises(ValueError, match=message):
        recognizer.prepare(ArrayClip(noise(1), FPS, sound))


def test_a_video_and_its_sound_file_go_together(recognizer, clip, silent):
    with pytest.raises(NoAudioError):
        recognizer.prepare(silent)
    [prediction] = recognizer.predict((silent, clip))
    assert prediction.views.has_sound


def test_it_is_an_inferencer_of_mmengine(recognizer, clip):
    assert isinstance(recognizer, BaseInferencer)
    answer = recognizer([clip, clip], batch_size=2, top_k=3)
    [prediction] = recognizer.predict(clip, top_k=3)
    assert set(answer) == {'predictions', 'visualization'}
    first, second = answer['predictions']
    assert first == second
    names = [pair['label'] for pair in first['ranked']['label']]
    assert names == [name for name, _ in prediction.ranked['label']]
    [sample] = recognizer(clip, return_datasamples=True)['predictions']
    assert sample.pred_score.shape == (12,)


def test_files_that_cannot_be_used_are_named(recognizer, broken):
    with pytest.raises(FileNotFoundError, match=r"no file 'gone\.mp4'"):
        recognizer.prepare('gone.mp4')
    with pytest.raises(MediaError, match=r'broken\.mp4'):
        recognizer.prepare(broken)
    with pytest.raises(ValueError, match='not after its start'):
        recognizer.prepare(broken, start=2, end=2)


def test_both_doors_to_a_model_lead_to_the_same(saved, recognizer, clip):
    # The config in a checkpoint has sorted keys: the links must not change.
    other = Recognizer.from_config(*saved['ca2st'])
    assert other.class_names == recognizer.class_names
    [a], [b] = other.predict(clip), recognizer.predict(clip)
    same(a.logits, b.logits, 1e-5)


@pytest.mark.parametrize('name', ['ca2st', 'verb_noun'])
def test_a_published_file_is_enough(saved, recognizers, clip, tmp_path, name):
    checkpoint = saved[name][1]
    path = publish(checkpoint, tmp_path / 'shared.safetensors')
    shared = Recognizer.from_pretrained(path)
    assert shared.class_names == recognizers[name].class_names
    [a], [b] = shared.predict(clip), recognizers[name].predict(clip)
    same(a.logits, b.logits, 1e-5)


def test_a_head_that_does_not_average_is_refused(saved):
    config, checkpoint = saved['ca2st']
    cfg = Config.fromfile(config)
    cfg.model.cls_head.average_clips = None
    with pytest.raises(ValueError, match="average_clips='prob'"):
        Recognizer.from_config(cfg, checkpoint)


def test_averages_of_logits_become_probabilities(saved, clip):
    config, checkpoint = saved['ca2st']
    cfg = Config.fromfile(config)
    cfg.model.cls_head.average_clips = 'score'
    recognizer = Recognizer.from_config(cfg, checkpoint)
    [prediction] = recognizer.predict(clip, top_k=12)
    mean = torch.from_numpy(prediction.logits['label']).mean(0).softmax(-1)
    scores = [score for _, score in prediction.ranked['label']]
    assert scores == pytest.approx(sorted(mean.tolist(), reverse=True))


def test_the_class_list_must_have_the_models_size(toy, tmp_path):
    cfg = ca2st_config(toy)
    cfg.test_dataloader.dataset.pop('classes')
    config, checkpoint = save(tmp_path / 'm', cfg, classes=['a', 'b'])
    with pytest.raises(ValueError, match='has 12 classes.* names for 2'):
        Recognizer.from_config(config, checkpoint)


def test_two_class_lists_must_agree(saved, toy):
    config, checkpoint = saved['ca2st']
    cfg = Config.fromfile(config)
    names = list(class_names())
    names[3], names[4] = names[4], names[3]
    cfg.test_dataloader.dataset.classes = names
    with pytest.raises(ValueError, match='class 3 is .* in the checkpoint'):
        Recognizer.from_config(cfg, checkpoint)
