# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers of the recipes: the authors', as far as they are known.

The table is the fact sheet of the reference models, ``reference/facts.md``,
section 7 (and 1.1, 2.7 and 1.4 for frames, layers and sound).  What is
unknown there is left out here; a new config needs a row, empty if nothing of
it is known.
"""

from pathlib import Path

import pytest
import torch
from mmaction.registry import PARAM_SCHEDULERS
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(
    f'{family}/{path.stem}'
    for family in ('cast', 'cava', 'ca2st')
    for path in (CONFIGS / family).glob('*.py')
)
STEPS = 20  # of an epoch, to see the schedule

# Section 7.1 and 1.1: the same everywhere.
COMMON = dict(betas=(0.9, 0.999), weight_decay=0.05, warmup=5, frames=16)
# First layer of each link, section 2.7; layer 9 is the most likely one.
CAST = dict(COMMON, start=dict(spatial_temporal=0))
CAVA = dict(COMMON, start=dict(spatial_audio=0))
CA2ST = dict(
    COMMON, start=dict(spatial_temporal=0, spatial_audio=9, temporal_audio=9)
)
# Section 7.2, 16 GPUs.
CAST_TRAINED = dict(
    CAST, lr=1e-3, epochs=50, batch=6, drop_path=0.2, views=(2, 3)
)
# Section 7.3, from the command of an evaluation.
CAVA_TRAINED = dict(
    CAVA, lr=5e-4, epochs=50, batch=6, drop_path=0.2, views=(2, 3)
)
ROWS = {
    'cast/cast_ek100': CAST_TRAINED,
    'cast/cast_ssv2': dict(CAST_TRAINED, drop_path=0.3),
    'cast/cast_k400': dict(CAST_TRAINED, epochs=70, views=(5, 3)),
    'cava/cava_epic_sounds': dict(CAVA_TRAINED, spectrogram=(400, 128)),
    'cava/cava_vggsound': dict(CAVA_TRAINED, spectrogram=(1024, 128)),
    # Section 7.4: no settings of these are known.
    **dict.fromkeys(['cast/cast_activitynet', 'cast/cast_hd_epic'], CAST),
    **dict.fromkeys(
        [
            'cava/cava_ek100',
            'cava/cava_hd_epic',
            'cava/cava_hd_epic_sounds',
            'cava/cava_kinetics_sound',
            'cava/cava_ucf101',
        ],
        CAVA,
    ),
    **dict.fromkeys(
        [
            'ca2st/ca2st_ek100',
            'ca2st/ca2st_epic_sounds',
            'ca2st/ca2st_hd_epic',
            'ca2st/ca2st_hd_epic_sounds',
            'ca2st/ca2st_k400',
            'ca2st/ca2st_kinetics_sound',
            'ca2st/ca2st_ucf101',
            'ca2st/ca2st_vggsound',
        ],
        CA2ST,
    ),
}


def rates(cfg):
    """The learning rate of every step of a run, as the schedule drives it."""
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


def steps_of(cfg, kind):
    """The steps of all three pipelines that carry an argument."""
    pipelines = [
        cfg[f'{split}_dataloader'].dataset.pipeline
        for split in ('train', 'val', 'test')
    ]
    return [step for steps in pipelines for step in steps if kind in step]


def views(cfg):
    """Clips and crops of a test sample."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    [clips] = [s.num_clips for s in pipeline if 'num_clips' in s]
    [crops] = [
        dict(ThreeCrop=3, CenterCrop=1)[step.type]
        for step in pipeline
        if step.type.endswith('Crop')
    ]
    return clips, crops


def frames(cfg):
    """Frames of a clip, which must be one number throughout."""
    experts = cfg.model.backbone.experts.to_dict()
    found = {step.clip_len for step in steps_of(cfg, 'clip_len')}
    found |= {
        expert['num_frames'] * expert.get('frame_stride', 1)
        for expert in experts.values()
        if 'num_frames' in expert
    }
    [number] = found
    return number


def spectrogram(cfg):
    """Columns and mel bands, those of expert and pipelines alike."""
    size = tuple(cfg.model.backbone.experts.audio.spec_size)
    [columns] = {
        step.num_frames
        for step in steps_of(cfg, 'num_frames')
        if step.type == 'LogMelSpectrogram'
    }
    assert columns == size[0]
    return size


def drop_path(cfg):
    backbone = cfg.model.backbone
    parts = [*backbone.experts.values(), *backbone.links]
    [rate] = {part.drop_path_rate for part in parts}
    return rate


def start(cfg):
    return {
        '_'.join(link.axes): link.get('start_layer', 0)
        for link in cfg.model.backbone.links
    }


READERS = dict(
    lr=lambda cfg: round(max(rates(cfg)), 9),
    # Steps from 0 to the peak: the last one of the warm-up or the next.
    warmup=lambda cfg: round(rates(cfg).index(max(rates(cfg))) / STEPS),
    epochs=lambda cfg: cfg.train_cfg.max_epochs,
    betas=lambda cfg: tuple(cfg.optim_wrapper.optimizer.betas),
    weight_decay=lambda cfg: cfg.optim_wrapper.optimizer.weight_decay,
    batch=lambda cfg: cfg.train_dataloader.batch_size,
    frames=frames,
    views=views,
    spectrogram=spectrogram,
    drop_path=drop_path,
    start=start,
)


@pytest.mark.parametrize('name', NAMES)
def test_numbers_of_the_fact_sheet(name):
    assert name in ROWS, f'give {name} a row of what is known of it'
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    found = {key: READERS[key](cfg) for key in ROWS[name]}
    assert found == ROWS[name]


@pytest.mark.parametrize('name', NAMES)
def test_sound_has_one_length(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    if 'audio' in cfg.model.backbone.experts:
        assert spectrogram(cfg)[1] == 128
