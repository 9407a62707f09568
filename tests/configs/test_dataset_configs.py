# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The base configs of the benchmarks say what is known of the authors'."""

from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASES = CONFIGS / '_base_' / 'datasets'
PUBLISHED = sorted(
    path
    for path in CONFIGS.rglob('*.py')
    if not {'_base_', 'toy'} & set(path.parts)
)
EK100 = dict(verb=97, noun=300)


class Sound(NamedTuple):
    frames: int
    rate: int | None
    mask: bool = False
    missing: str = 'raise'


class Known(NamedTuple):
    classes: int | dict
    sampler: str
    clips: int
    flips: bool
    sound: Sound | None
    files: tuple
    metric: str


KITCHEN = Sound(400, 24000)
LONG = Sound(1024, None)
TRAIN_VAL = ('train.csv', 'val.csv', 'val.csv')
TRAIN_TEST = ('train.csv', 'test.csv', 'test.csv')
ZERO_SHOT = ('train.csv', 'val.csv', 'test.csv')
SPLIT_1 = ('train_split1.csv', 'test_split1.csv', 'test_split1.csv')
PLAIN, AV, EPIC, EVENTS = (
    'ClipAccMetric',
    'AudioVisualAccMetric',
    'EpicKitchensMetric',
    'SoundEventMetric',
)
DENSE, SEGMENTS = 'DenseSample', 'SegmentSample'
KNOWN = {
    'kinetics400_rgb': Known(400, DENSE, 5, True, None, TRAIN_VAL, PLAIN),
    'kinetics400_audio_visual': Known(
        400, DENSE, 5, True, LONG._replace(missing='drop'), TRAIN_VAL, AV
    ),
    'something_something_v2_rgb': Known(
        174, SEGMENTS, 2, False, None, TRAIN_VAL, PLAIN
    ),
    'activitynet_rgb': Known(200, SEGMENTS, 2, True, None, TRAIN_VAL, PLAIN),
    'epic_kitchens100_rgb': Known(
        EK100, SEGMENTS, 2, True, None, TRAIN_VAL, EPIC
    ),
    'epic_kitchens100_audio_visual': Known(
        EK100, SEGMENTS, 2, True, KITCHEN, TRAIN_VAL, EPIC
    ),
    'hd_epic_rgb': Known(EK100, SEGMENTS, 2, True, None, ZERO_SHOT, EPIC),
    'hd_epic_audio_visual': Known(
        EK100, SEGMENTS, 2, True, KITCHEN, ZERO_SHOT, EPIC
    ),
    'epic_sounds_audio_visual': Known(
        44, SEGMENTS, 2, True, KITCHEN, TRAIN_VAL, EVENTS
    ),
    'hd_epic_sounds_audio_visual': Known(
        44, SEGMENTS, 2, True, KITCHEN, ZERO_SHOT, EVENTS
    ),
    'vggsound_audio_visual': Known(
        309, DENSE, 2, True, LONG._replace(mask=True), TRAIN_TEST, AV
    ),
    'kinetics_sound_audio_visual': Known(
        31, DENSE, 2, True, LONG, TRAIN_TEST, AV
    ),
    'ucf101_rgb': Known(101, DENSE, 2, True, None, SPLIT_1, PLAIN),
    'ucf101_audio_visual': Known(101, DENSE, 2, True, LONG, SPLIT_1, AV),
}
SPLITS = ('train', 'val', 'test')


def steps_of(cfg, split):
    return [dict(s) for s in cfg[f'{split}_dataloader'].dataset.pipeline]


def find(steps, kind):
    found = [step for step in steps if step['type'] == kind]
    assert len(found) < 2 or kind in ('Resize', 'RandomApply')
    return found[0] if found else None


def test_every_benchmark_is_here():
    names = {
        path.stem
        for kind in ('rgb', 'audio_visual')
        for path in BASES.glob(f'*_{kind}.py')
    }
    assert {n for n in names if not n.startswith('toy')} == set(KNOWN)
    benchmarks = {n.split('_rgb')[0].split('_audio_vis')[0] for n in KNOWN}
    assert len(benchmarks) == 10


@pytest.mark.parametrize('name', KNOWN)
def test_pictures(name):
    known, cfg = KNOWN[name], Config.fromfile(BASES / f'{name}.py')
    train, val, test = (steps_of(cfg, split) for split in SPLITS)
    assert find(train, known.sampler)['clip_len'] == 16
    sampler = find(test, known.sampler)
    assert (sampler['num_clips'], sampler['test_mode']) == (known.clips, True)
    if known.sampler == DENSE:
        window = find(val, 'SampleFrames')
        assert (window['clip_len'], window['frame_interval']) == (16, 4)
        assert sampler['interval'] == find(train, DENSE)['interval'] == 4
    operations = [s for s in train if s['type'] == 'RandomApply']
    assert [o['prob'] for o in operations] == [0.5] * 4
    assert bool(find(train, 'Flip')) == known.flips
    assert find(train, 'RandomResizedCrop')['area_range'] == (0.08, 1.0)
    assert find(val, 'CenterCrop') and find(test, 'ThreeCrop')
    random = {'RandomApply', 'Flip', 'RandomResizedCrop', 'MaskSpectrogram'}
    for steps in (val, test):
        assert not random & {step['type'] for step in steps}
        assert find(steps, 'Resize')['scale'] == (-1, 224)
    kinds = {s['type'] for steps in (train, val, test) for s in steps}
    assert not kinds & {'RandomErasing', 'ColorJitter'}


@pytest.mark.parametrize('name', KNOWN)
def test_sound(name):
    sound, cfg = KNOWN[name].sound, Config.fromfile(BASES / f'{name}.py')
    positions = dict(train='random', val=0.5, test='views')
    for split in SPLITS:
        steps = steps_of(cfg, split)
        keys = find(steps, 'PackActionInputs')['collect_keys']
        if sound is None:
            assert keys == ('imgs',) and not find(steps, 'LoadAudio')
            continue
        load = find(steps, 'LoadAudio')
        assert load.get('sample_rate') == sound.rate
        assert load['missing'] == sound.missing
        mel = find(steps, 'LogMelSpectrogram')
        assert mel['num_frames'] == sound.frames
        assert mel['position'] == positions[split]
        assert set(keys) == {
            'imgs',
            'audios',
            'imgs_times',
            'audios_times',
            'audios_present',
        }
        order = [step['type'] for step in steps]
        assert order.index('FrameTimes') > order.index('FormatShape')
        masked = sound.mask and split == 'train'
        assert bool(find(steps, 'MaskSpectrogram')) == masked


@pytest.mark.parametrize('name', KNOWN)
def test_files_and_metric(name):
    known, cfg = KNOWN[name], Config.fromfile(BASES / f'{name}.py')
    for split, file in zip(SPLITS, known.files, strict=True):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.num_classes == known.classes
        assert dataset.ann_file == file
        assert dataset.get('test_mode', False) == (split != 'train')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == 'ReadableClips'
        assert evaluator.metric.type == known.metric
    benchmark = name.removesuffix('_rgb').removesuffix('_audio_visual')
    tested = cfg.test_dataloader.dataset.data_root
    assert tested == f'data/{benchmark}'
    trained = cfg.train_dataloader.dataset.data_root
    zero_shot = dict(hd_epic='epic_kitchens100', hd_epic_sounds='epic_sounds')
    assert trained == f'data/{zero_shot.get(benchmark, benchmark)}'


@pytest.mark.parametrize(
    'name', ['kinetics400', 'epic_kitchens100', 'hd_epic', 'ucf101']
)
@pytest.mark.parametrize('split', SPLITS)
def test_sound_changes_no_picture(name, split):
    plain, both = (
        steps_of(Config.fromfile(BASES / f'{name}_{kind}.py'), split)
        for kind in ('rgb', 'audio_visual')
    )
    assert both[: len(plain) - 1] == plain[:-1]


@pytest.mark.parametrize(
    'path', PUBLISHED, ids=lambda p: str(p.relative_to(CONFIGS))
)
def test_head_and_data_have_the_same_classes(path):
    cfg = Config.fromfile(path)
    head = cfg.model.cls_head
    if head.type == 'VerbNounHead':
        sizes = dict(verb=head.num_verbs, noun=head.num_nouns)
    else:
        sizes = head.num_classes
    assert cfg.train_dataloader.dataset.num_classes == sizes
    # the blending asks the head, so that another head needs no second entry
    blending = cfg.model.data_preprocessor.get('blending') or {}
    assert 'num_classes' not in blending
    assert set(blending.get('cut', ())) <= set(
        cfg.model.data_preprocessor.get('preprocessors', ())
    )


@pytest.mark.parametrize(
    'path',
    sorted(p for p in BASES.glob('*.py') if p.stem.split('_')[0] != 'toy')
    + PUBLISHED,
    ids=lambda p: str(p.relative_to(CONFIGS)),
)
def test_a_bad_file_is_counted_and_does_not_end_a_run(path):
    cfg = Config.fromfile(path)
    for split, on_error in zip(
        SPLITS, ('substitute', 'skip', 'skip'), strict=True
    ):
        if f'{split}_dataloader' not in cfg:
            continue
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.on_error == on_error
        assert dataset.max_bad_fraction == 0.01
        assert dataset.quarantine == 'work_dirs/bad_samples.csv'
        # what is skipped must be counted
        evaluator = cfg.get(f'{split}_evaluator')
        assert evaluator is None or evaluator.type == 'ReadableClips'


def test_the_toy_world_is_strict():
    """It is made here: a file that cannot be read is a fault of ours."""
    for path in BASES.glob('toy_*.py'):
        cfg = Config.fromfile(path)
        for split in SPLITS:
            dataset = cfg[f'{split}_dataloader'].dataset
            assert dataset.get('on_error', 'raise') == 'raise'
