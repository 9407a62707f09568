# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a clip to classes: the class that every entry point goes through."""

import doctest
import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.infer import BaseInferencer
from toy_recognizer import FPS, noise, write_noise

from ca2st_mm import Recognizer, VideoAndAudio, apis
from ca2st_mm.apis import ArrayClip, modality_contributions
from ca2st_mm.apis.features import extract
from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.faults import MediaError, NoAudioError
from ca2st_mm.datasets.toy import class_names
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.registry import DATASETS
from ca2st_mm.visualization.attention_maps import read_attention


def same(a, b, tolerance=1e-6):
    assert set(a) == set(b)
    for task in a:
        np.testing.assert_allclose(a[task], b[task], atol=tolerance, rtol=0)


def test_classes_come_ranked_with_probabilities(recognizer, clip):
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


def test_averages_of_logits_become_probabilities(changed, clip):
    recognizer = changed(
        lambda cfg: cfg.model.cls_head.update(average_clips='score')
    )
    [prediction] = recognizer.predict(clip, top_k=12)
    mean = torch.from_numpy(prediction.logits['label']).mean(0).softmax(-1)
    scores = [score for _, score in prediction.ranked['label']]
    assert scores == pytest.approx(sorted(mean.tolist(), reverse=True))


def test_a_verb_and_a_noun_make_an_action(recognizers, clip):
    [prediction] = recognizers['verb_noun'].predict(clip, top_k=12)
    ranked = {task: dict(pairs) for task, pairs in prediction.ranked.items()}
    assert list(ranked) == ['verb', 'noun', 'action']
    assert [len(pairs) for pairs in ranked.values()] == [2, 6, 12]
    product = ranked['verb']['verb 1'] * ranked['noun']['noun 3']
    assert ranked['action']['verb 1 noun 3'] == pytest.approx(product)


def test_each_source_has_its_own_answer(recognizer, clips):
    """Two files are two clips; a video with the audio of another is named."""
    alone = [recognizer.predict(path)[0] for path in clips[:2]]
    for kind in (list, tuple):
        together = recognizer.predict(kind(clips[:2]), batch_size=2)
        for a, b in zip(alone, together, strict=True):
            same(a.logits, b.logits, 1e-5)
            assert a.source == b.source


def test_views_are_what_the_reader_gives(recognizer, clip):
    [prediction] = recognizer.predict(clip, start=0.5, end=1.2)
    views = prediction.views
    assert views.frames.shape == views.seconds.shape == (2, 16)
    with PyAVReader(clip) as reader:
        inside = [t for t in reader.frame_times if 0.5 <= t < 1.2]
    np.testing.assert_allclose(views.seconds, np.asarray(inside)[views.frames])
    assert views.has_audio
    assert 0.5 - 1e-4 <= views.audio.min() < views.audio.max() <= 1.2 + 1e-4


def test_arrays_answer_like_the_file(recognizer, clip):
    audio = read_audio(clip)
    with PyAVReader(clip) as reader:
        frames = reader.read(range(reader.num_frames))
        fps = reader.avg_fps
    # A file's audio starts where its track does; an array's at its start.
    silence = np.zeros(round(audio.start * audio.sample_rate), np.float32)
    waveform = np.append(silence, audio.waveform)
    arrays = ArrayClip(
        torch.from_numpy(frames),
        fps,
        (torch.from_numpy(np.stack([waveform] * 2)), audio.sample_rate),
    )
    span = dict(start=audio.start, end=1.0)
    [from_file], [from_arrays] = (
        recognizer.predict(source, **span) for source in (clip, arrays)
    )
    same(from_file.logits, from_arrays.logits, 1e-4)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(frames=noise(1) / 255), 'RGB uint8'),
        (dict(frames=noise(1)[..., :1]), 'RGB uint8'),
        (dict(frames=noise(1)[:0]), 'no frame'),
        (dict(fps=0), 'fps is above 0'),
        (dict(audio=(np.zeros(9, np.int16), 16000)), 'float'),
        (dict(audio=(np.zeros(9), 0)), 'above 0'),
    ],
)
def test_arrays_of_another_kind_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ArrayClip(**{**dict(frames=noise(1), fps=FPS), **change})


def test_audio_may_be_in_another_file(recognizer, clip, silent):
    with pytest.raises(NoAudioError):
        recognizer.prepare(silent, missing_audio='raise')
    [prediction] = recognizer.predict(VideoAndAudio(silent, clip))
    assert prediction.views.has_audio


def test_missing_audio_follows_the_config_or_the_argument(
    recognizer, recognizers, tmp_path
):
    path = str(tmp_path / 'silent.mp4')
    write_noise(path, 2)
    arrays = ArrayClip(noise(2), FPS, name='mine')
    for source in (path, arrays):
        with pytest.raises(NoAudioError):
            recognizer.predict(source, missing_audio='raise')
    with pytest.raises(ValueError, match="got 'mute'"):
        recognizer.predict(path, missing_audio='mute')
    [dropped] = recognizer.predict(path, missing_audio='drop')
    [by_default] = recognizer.predict(path)  # its config says 'raise'
    same(by_default.logits, dropped.logits, 0)
    [silence] = recognizer.predict(path, missing_audio='silence')
    assert dropped.left_out == ('audio',) and not silence.left_out
    assert not np.allclose(dropped.logits['label'], silence.logits['label'])
    # What is reported is what ran: the answer of the other experts alone.
    sample = recognizer.prepare(path, missing_audio='drop')
    others = recognizer.logits([sample], experts=['spatial', 'temporal'])
    same(dropped.logits, {t: v[0] for t, v in others.items()}, 1e-5)
    [prediction] = recognizers['cast'].predict(arrays)
    assert prediction.source == 'mine'
    assert prediction.views.has_audio is None and not prediction.left_out


def pack_without_presence(cfg):
    """MMAction2's last step, which packs values alone."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[-1] = dict(
        type='PackActionInputs',
        collect_keys=('imgs', 'audios'),
        meta_keys=('img_shape', 'filename', 'has_audio'),
    )


def drop(cfg):
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'LoadAudio':
            step['missing_audio'] = 'drop'


def test_a_config_that_cannot_drop_audio_is_refused(changed, saved, silent):
    def both(cfg):
        pack_without_presence(cfg)
        drop(cfg)

    with pytest.raises(ValueError, match='does not pack which clips lack'):
        changed(both)
    cfg = Config.fromfile(saved['ca2st'][0])
    both(cfg)
    with pytest.raises(ValueError, match='does not pack which clips lack'):
        DATASETS.build(cfg.test_dataloader.dataset)
    recognizer = changed(pack_without_presence)
    with pytest.raises(ValueError, match='does not pack which clips lack'):
        recognizer.predict(silent, missing_audio='drop')
    [prediction] = changed(drop).predict(silent)
    assert prediction.left_out == ('audio',)


@pytest.mark.parametrize('name', ['ca2st', 'verb_noun', 'alone'])
def test_lower_precision_gives_the_same_answer(saved, recognizers, clip, name):
    exact = recognizers[name]
    assert exact.precision == 'float32'
    lower = Recognizer.from_config(*saved[name], precision='bfloat16')
    [expected], [found] = exact.predict(clip), lower.predict(clip)
    for task, logits in expected.logits.items():
        a, b = (
            torch.from_numpy(x).flatten() for x in (logits, found.logits[task])
        )
        assert not torch.equal(a, b)
        assert torch.cosine_similarity(a, b, dim=0) > 0.999
        assert found.ranked[task][0][0] == expected.ranked[task][0][0]


def test_it_is_an_inferencer_of_mmengine(recognizer, clip):
    assert isinstance(recognizer, BaseInferencer)
    answer = recognizer([clip, clip], batch_size=2, top_k=3)
    [prediction] = recognizer.predict(clip, top_k=3)
    assert answer['visualization'] == []
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


def test_a_bad_source_may_be_returned_in_its_place(recognizer, broken, clip):
    sources = [clip, broken, 'gone.mp4', clip]
    found = recognizer.predict(sources, batch_size=2, errors='return')
    kinds = [type(answer).__name__ for answer in found]
    assert kinds == ['Prediction', 'Failure', 'Failure', 'Prediction']
    assert [answer.source for answer in found] == sources
    assert 'no file' in found[2].reason
    with pytest.raises(MediaError, match=r'broken\.mp4'):
        recognizer.predict(sources)
    with pytest.raises(ValueError, match="'raise', 'return'.*'ignore'"):
        recognizer.predict(clip, errors='ignore')


def test_every_way_to_load_gives_the_same_model(saved, recognizer, clip):
    config, checkpoint = saved['ca2st']
    for loaded in (
        Recognizer(config, checkpoint),
        Recognizer.from_config(config, checkpoint),
        Recognizer.from_pretrained(checkpoint),
    ):
        assert loaded.class_names == recognizer.class_names
        assert loaded.device.type == get_device().split(':')[0]
        [a], [b] = loaded.predict(clip), recognizer.predict(clip)
        same(a.logits, b.logits, 1e-5)


def test_a_head_that_does_not_average_is_refused(changed):
    with pytest.raises(ValueError, match="average_clips='prob'"):
        changed(lambda cfg: cfg.model.cls_head.update(average_clips=None))


def contributions(recognizer, path):
    found = modality_contributions(recognizer, recognizer.prepare(path))
    return {part: scores['label'] for part, scores in found.parts.items()}


def attention(recognizer, path):
    maps = read_attention(recognizer, path).maps
    return {
        (n, m.layer): m.relative() for n, found in maps.items() for m in found
    }


CALLS = (
    lambda recognizer, path: recognizer.predict(path)[0].logits,
    lambda recognizer, path: extract(
        recognizer, [recognizer.prepare(path)], layers=[1, 2]
    ),
    contributions,
    attention,
)


def test_mixed_calls_of_threads_do_not_disturb_each_other(recognizer, clips):
    jobs = [(call, path) for path in clips[:2] for call in CALLS] * 2
    alone = {job: job[0](recognizer, job[1]) for job in jobs}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: job[0](recognizer, job[1]), jobs))
    for job, answer in zip(jobs, answers, strict=True):
        assert answer.keys() == alone[job].keys()
        for key, value in answer.items():
            np.testing.assert_allclose(
                value, alone[job][key], atol=1e-5, err_msg=str((job, key))
            )


@pytest.mark.parametrize(
    'name',
    [
        f'ca2st_mm.apis.{path.stem}'
        for path in Path(apis.__file__).parent.glob('*.py')
        if '>>> ' in path.read_text()
    ],
)
def test_examples_in_docstrings_run(name, example):
    if name.endswith('mteb_encoder'):
        pytest.importorskip('mteb')
    module = importlib.import_module(name)
    names = {**vars(module), 'recognizer': example.recognizer}
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(module, extraglobs=names, optionflags=options)
    assert found.attempted and not found.failed
