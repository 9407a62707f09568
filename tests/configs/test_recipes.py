# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Recipes hold the authors' values, as far as these are known.

The tables are the fact sheet of the reference models, ``reference/facts.md``,
section 7 (and 1.1, 1.4 and 2.7 for frames, audio and layers).  What is unknown
there is left out here.
"""

import re
from typing import NamedTuple

import pytest
import torch
from mmaction.registry import PARAM_SCHEDULERS, TRANSFORMS
from test_configs import CONFIGS, PUBLISHED, load

from ca2st_mm.datasets.benchmarks import BENCHMARKS as PREPARED
from ca2st_mm.datasets.benchmarks import class_names

RELEASED = [n for n in PUBLISHED if n.endswith('_as_released')]
RECIPES = [
    name
    for name in PUBLISHED
    if name.split('/')[0] in ('cast', 'cava', 'ca2st') and name not in RELEASED
]
VIDEO = {'k400', 'ek100', 'hd_epic'}
AUDIO = {
    *('ek100', 'hd_epic', 'vggsound', 'kinetics_sound', 'ucf101'),
    *('epic_sounds', 'hd_epic_sounds'),
}
WITH = dict(
    cast=VIDEO | {'ssv2', 'activitynet'}, cava=AUDIO, ca2st=AUDIO | {'k400'}
)
# Not trained on: their weights come from another benchmark.
INHERITED = ('kinetics_sound', 'ucf101', 'hd_epic', 'hd_epic_sounds')
ROBUSTNESS = sorted(path.stem for path in CONFIGS.glob('robustness/*.py'))
SPLITS = ('train', 'val', 'test')
STEPS = 10  # of an epoch, to see the schedule

# Section 7.2: CAST on 16 GPUs.  Section 7.3: CAVA, from the command of an
# evaluation.
CAST = dict(lr=1e-3, decay=0.75, epochs=50, accumulated=4, total=384)
CAST |= dict(drop_path=0.2, mixup=0.9)
CAVA = dict(lr=5e-4, decay=0.8, epochs=50, accumulated=2, total=None)
CAVA |= dict(drop_path=0.2, mixup=0.9)
KNOWN = {
    'cast/cast_ek100': CAST,
    'cast/cast_ssv2': dict(CAST, drop_path=0.3),
    'cast/cast_k400': dict(
        CAST, epochs=70, accumulated=6, total=576, mixup=0.5
    ),
    'cava/cava_vggsound': CAVA,
    'cava/cava_epic_sounds': dict(CAVA, accumulated=4),
}
# First layer of each link, section 2.7; layer 9 is the most likely one.
START = dict(
    cast=dict(spatial_temporal=0),
    cava=dict(spatial_audio=0),
    ca2st=dict(spatial_temporal=0, spatial_audio=9, temporal_audio=9),
)


class Data(NamedTuple):
    """What a benchmark's clips are read and evaluated with."""

    sampler: str
    metric: str
    frames: int = 0  # of the spectrogram
    rate: int | None = None
    clips: int = 2
    flips: bool = True
    mask: bool = False
    missing: str = 'raise'


DENSE, SEGMENTS = 'DenseSample', 'SegmentSample'
PLAIN, SOUNDS = 'ClipAccMetric', 'SoundEventMetric'
EK100 = Data(SEGMENTS, 'EpicKitchensMetric', 400, 24000)
EPIC_SOUNDS = Data(SEGMENTS, SOUNDS, 400, 24000)
BENCHMARKS = dict(
    k400=Data(DENSE, PLAIN, 1024, clips=5, missing='drop'),
    ssv2=Data(SEGMENTS, PLAIN, flips=False),
    activitynet=Data(SEGMENTS, PLAIN),
    ek100=EK100,
    hd_epic=EK100,
    epic_sounds=EPIC_SOUNDS,
    hd_epic_sounds=EPIC_SOUNDS,
    vggsound=Data(DENSE, PLAIN, 1024, mask=True),
    kinetics_sound=Data(DENSE, PLAIN, 1024),
    ucf101=Data(DENSE, PLAIN, 1024),
)
# By the folder of the data, as the preparers write it.
CLASSES = {
    f'data/{one.folder}': [len(names) for names in class_names(one).values()]
    for one in PREPARED.values()
}


def learning_rates(cfg):
    """Of every iteration of a run, as the schedule sets them."""
    lr = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(one),
            default_args=dict(optimizer=optimizer, epoch_length=STEPS),
        )
        for one in cfg.to_dict()['param_scheduler']
    ]
    found = []
    for _ in range(cfg.train_cfg.max_epochs * STEPS):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


@pytest.mark.parametrize('name', KNOWN)
def test_training_is_that_of_the_authors(name):
    cfg = load(name)
    wrapper, backbone = cfg.optim_wrapper, cfg.model.backbone
    parts = [*backbone.experts.values(), *backbone.links]
    [drop_path] = {part.drop_path_rate for part in parts}
    assert KNOWN[name] == dict(
        lr=round(max(learning_rates(cfg)), 9),
        decay=wrapper.paramwise_cfg.layer_decay,
        epochs=cfg.train_cfg.max_epochs,
        accumulated=wrapper.accumulative_counts,
        total=cfg.default_hooks.linear_scaling.get('recipe_batch_size'),
        drop_path=drop_path,
        mixup=cfg.model.data_preprocessor.blending.prob,
    )


@pytest.mark.parametrize('name', RECIPES)
def test_what_all_recipes_share(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0.05)
    assert tuple(optimizer.betas) == (0.9, 0.999)
    rates = learning_rates(cfg)
    # From 0 to the peak: the last step of the warm-up or the next.
    assert round(rates.index(max(rates)) / STEPS) == 5
    assert rates[-1] == pytest.approx(1e-6, rel=0.1)
    assert cfg.model.data_preprocessor.blending.alpha == 0.8
    assert cfg.model.get('cls_head').label_smooth_eps == 0.1
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.sampler.type) == (6, 'WholeStepSampler')
    clips = loader.batch_size * cfg.optim_wrapper.accumulative_counts
    assert loader.sampler.clips_per_step == clips
    # What a resumed run needs to draw the same clips.
    assert loader.worker_init_fn.type == 'seed_worker'
    assert not loader.persistent_workers
    assert cfg.randomness.diff_rank_seed  # section 7.1: seed + rank
    links = cfg.model.backbone.links
    start = {
        '_'.join(link.between): link.get('start_layer', 0) for link in links
    }
    assert start == START[name.split('/')[0]]


def steps_of(cfg, split):
    """The transforms of a pipeline by type; of several the last."""
    pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
    return {step['type']: dict(step) for step in pipeline}


@pytest.mark.parametrize('name', RECIPES)
def test_frames(name):
    family, _, benchmark = name.split('/')[1].partition('_')
    known, cfg = BENCHMARKS[benchmark], load(name)
    train, val, test = (steps_of(cfg, split) for split in SPLITS)
    assert train[known.sampler]['clip_len'] == 16
    sampler = test[known.sampler]
    assert (sampler['num_clips'], sampler['test_mode']) == (known.clips, True)
    if known.sampler == DENSE:
        window = val['SampleFrames']
        assert (window['clip_len'], window['frame_interval']) == (16, 4)
        assert sampler['interval'] == train[DENSE]['interval'] == 4
    # Section 7.1: rand-m7-n4-mstd0.5-inc1.
    assert train['RandAugmentFrames'] == dict(
        type='RandAugmentFrames',
        num_ops=4,
        magnitude=7,
        magnitude_std=0.5,
        prob=0.5,
    )
    assert ('Flip' in train) == known.flips
    assert train['RandomResizedCrop']['area_range'] == (0.08, 1.0)
    random = {'RandAugmentFrames', 'Flip', 'RandomResizedCrop'}
    random |= {'MaskSpectrogram'}
    for steps in (val, test):
        assert not random & set(steps)
        assert steps['ShortSideCrops']['size'] == 224
    crops = [steps['ShortSideCrops']['num_crops'] for steps in (val, test)]
    assert crops == [1, 3]
    for expert in cfg.model.backbone.experts.values():
        if 'num_frames' in expert:
            assert expert.num_frames * expert.get('frame_stride', 1) == 16


@pytest.mark.parametrize('name', RELEASED)
def test_as_released_is_the_recipe_with_the_switches_of_the_docs(name):
    cfg, recipe = load(name), load(name.removesuffix('_as_released'))
    family = name.split('/')[0]
    experts, links = cfg.model.backbone.experts, cfg.model.backbone.links
    assert experts.spatial.drop_path_unit == 'token'
    for link in links:
        units = {expert: 'token' for expert in link.between}
        if 'temporal' in units:
            units['temporal'] = 'sample'
        ours = link.drop_path_unit
        assert {e: ours.get(e, 'sample') for e in link.between} == units
    eps = experts.spatial.get('norm_eps', 1e-5)
    assert eps == (1e-6 if family == 'cava' else 1e-5)
    train, val = (steps_of(cfg, split) for split in ('train', 'val'))
    # The authors validate on random frames, too.
    [sampler] = [step for key, step in train.items() if 'Sample' in key]
    assert [step for key, step in val.items() if 'Sample' in key] == [sampler]
    assert 'test_mode' not in sampler
    if sampler['type'] == 'SegmentSample':
        assert sampler['rule'] == 'reference'
    if family != 'cast':
        assert train['PackAudioVisual']['half_times']
        assert 'half_times' not in val['PackAudioVisual']
        blending = cfg.model.data_preprocessor.blending
        assert blending.type == 'ReferenceMultiStreamBlending'
        assert experts.audio.time_bin_order == 'time_major'
        fit = experts.audio.get('position_fit', None)
        assert (fit == 'squeeze') == (experts.audio.spec_size[0] == 1024)
    for part in ('optim_wrapper', 'param_scheduler', 'default_hooks'):
        assert cfg[part] == recipe[part]
    if 'activitynet' in name:  # clips are found in another way
        assert 'OpenShareOfVideo' in train and 'OpenShareOfVideo' in val
        opener = cfg.test_dataloader.dataset.pipeline[0]
        assert opener.type == 'OpenShareOfVideo'
        opener.type = 'OpenVideo'
    assert cfg.test_dataloader == recipe.test_dataloader
    head = cfg.model.cls_head
    if name.endswith(('k400_as_released', 'ssv2_as_released')):
        # Fine-tuned weights with as many classes.
        assert head.pop('init_cfg').checkpoint.endswith('-ft')
        assert experts.temporal.init_cfg.norm is False
    assert head == recipe.model.cls_head


@pytest.mark.parametrize('name', ROBUSTNESS)
def test_robustness_is_the_recipe_with_a_corruption_in_its_test(name):
    cfg = load(f'robustness/{name}')
    benchmark = name.split('_')[1].replace('epic', 'epic_sounds')
    recipe = load(f'cava/cava_{benchmark}')
    ours, plain = (c.test_dataloader.dataset.pipeline for c in (cfg, recipe))
    if 'masked' in name:
        [link] = cfg.model.backbone.links
        # a, the spatial expert, reads half of the audio.
        assert link.between[0] == 'spatial'
        assert link.pop('masked_context') == (0.5, 0.0)
    else:
        [corruption] = [step for step in ours if step not in plain]
        assert ours[ours.index(corruption) - 1].type == 'LoadAudio'
        assert TRANSFORMS.build(corruption).seed == 0
        ours.remove(corruption)
    assert (ours, cfg.model) == (plain, recipe.model)


@pytest.mark.parametrize('name', RECIPES)
def test_audio(name):
    family, _, benchmark = name.split('/')[1].partition('_')
    known, cfg = BENCHMARKS[benchmark], load(name)
    positions = dict(train='random', val=0.5, test='views')
    for split in SPLITS:
        steps = steps_of(cfg, split)
        if family == 'cast':
            assert not {'LoadAudio', 'FrameTimes'} & set(steps)
            continue
        audio, mel = steps['LoadAudio'], steps['LogMelSpectrogram']
        assert audio.get('sample_rate') == known.rate
        assert audio['missing_audio'] == known.missing
        assert mel['position'] == positions[split]
        size = cfg.model.backbone.experts.audio.spec_size
        assert (mel['num_frames'], 128) == (known.frames, 128) == tuple(size)
        masked = known.mask and split == 'train'
        assert ('MaskSpectrogram' in steps) == masked
        order = list(steps)
        assert order.index('FrameTimes') > order.index('FormatShape')


@pytest.mark.parametrize('name', RECIPES)
def test_classes_and_metric(name):
    """Annotation files are found, or ``test_runs.py`` would not train."""
    cfg, metric = load(name), BENCHMARKS[name.partition('_')[2]].metric
    head = cfg.model.cls_head
    heads = [head.get('num_classes')]
    if head.type == 'VerbNounHead':
        heads = [head.num_verbs, head.num_nouns]
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        assert heads == CLASSES[dataset.data_root]
        classes = dataset.num_classes
        counts = classes.values() if isinstance(classes, dict) else [classes]
        assert list(counts) == heads
    assert cfg.val_evaluator.metric.type == metric
    assert cfg.test_evaluator.metric.type == metric


@pytest.mark.parametrize('name', PUBLISHED)
def test_unreadable_files_are_counted_and_rates_follow_the_batch_size(name):
    cfg = load(name)
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        policy = 'substitute' if split == 'train' else 'skip'
        assert dataset.on_error == policy
        assert dataset.max_bad_fraction == 0.01
        assert dataset.quarantine == 'work_dirs/bad_samples.csv'
    # What is skipped must be counted.
    assert cfg.val_evaluator.type == cfg.test_evaluator.type == 'ReadableClips'
    # In default_hooks: another list of custom_hooks keeps it.
    scaling = cfg.default_hooks.linear_scaling
    assert scaling.type == 'LinearScalingHook'
    assert scaling.base_batch_size == 256


def rows_of_the_metrics_page():
    """(recipes, views, metric) of each row."""
    page = CONFIGS.parent / 'docs/metrics.md'
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.split('|')]
        names = re.findall('`(ca.*?)`', cells[2]) if len(cells) > 6 else []
        if names:
            yield names, cells[4][:5], cells[6].strip('`')


def test_every_recipe_is_on_the_metrics_page():
    found = {}
    for names, views, metric in rows_of_the_metrics_page():
        for name in names:
            found[f'{name.split("_")[0]}/{name}'] = (views, metric)
    assert set(found) == set(RECIPES)
    for name, (views, metric) in found.items():
        family, _, benchmark = name.split('/')[1].partition('_')
        known = BENCHMARKS[benchmark]
        assert views == f'{known.clips} x 3'
        if metric:
            assert metric == known.metric


def test_every_benchmark_has_its_recipe_and_as_released():
    assert set(RECIPES) == {
        f'{family}/{family}_{benchmark}'
        for family, benchmarks in WITH.items()
        for benchmark in benchmarks
    }
    assert {name.removesuffix('_as_released') for name in RELEASED} == {
        name for name in RECIPES if not name.endswith(INHERITED)
    }
