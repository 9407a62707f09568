# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Real files through training, testing and prediction."""

from pathlib import Path

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from mmengine.runner import Runner

CLIPS = Path(__file__).resolve().parents[2] / 'shared' / 'clips'
LABELS = {
    'flipping_pancake_opus.mkv': 0,
    'flute_guitar_aac.mp4': 1,
    'applying_makeup_mp3.avi': 2,
    'arm_wrestling_noaudio.mp4': 3,
    'cleaning_pool_noaudio.mp4': 4,
    'short_1s_noaudio.mp4': 5,
}
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def config(tmp_path):
    if not CLIPS.is_dir():
        pytest.skip(f'real video clips not at {CLIPS}')
    rows = ''.join(f'{name},{label}\n' for name, label in LABELS.items())
    (tmp_path / 'clips.csv').write_text('file,label\n' + rows)
    cfg = Config.fromfile(ROOT / 'configs/toy/ca2st_toy.py')
    pipeline = [
        dict(type='OpenVideo'),
        dict(type='SegmentSample', clip_len=16, test_mode=True, num_clips=2),
        dict(type='DecodeVideo'),
        dict(type='Resize', scale=(-1, 32)),
        dict(type='ThreeCrop', crop_size=32),
        dict(type='FrameTimes'),
        dict(type='LoadAudio', missing='drop', sample_rate=16000),
        dict(type='CropAudio', min_seconds=1.28),
        dict(type='LogMelSpectrogram', num_frames=128, num_mels=64),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(
            type='PackActionInputs',
            collect_keys=(
                'imgs',
                'audios',
                'imgs_times',
                'audios_times',
                'audios_present',
            ),
            meta_keys=('img_shape', 'filename', 'has_audio'),
        ),
    ]
    crop = dict(type='CenterCrop', crop_size=32)
    single = [
        crop if step['type'] == 'ThreeCrop' else step for step in pipeline
    ]
    single[1] = dict(single[1], num_clips=1)
    dataset = dict(
        type='AudioVisualDataset',
        ann_file=str(tmp_path / 'clips.csv'),
        data_prefix=dict(video=str(CLIPS)),
        classes=sorted(LABELS),
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=6)
        loader.dataset = dict(dataset, pipeline=single)
    cfg.train_dataloader.update(
        sampler=dict(type='InfiniteSampler', shuffle=False), num_workers=2
    )
    cfg.test_dataloader = dict(
        cfg.val_dataloader, dataset=dict(dataset, pipeline=pipeline)
    )
    for dataloader in (cfg.val_dataloader, cfg.test_dataloader):
        dataloader.dataset.test_mode = True
    cfg.test_pipeline = pipeline
    backbone = cfg.model.backbone
    for expert in backbone.experts.values():
        expert.pop('init_cfg')
        expert.update(frozen_parts=(), adapter_ratio=0.25)
    cfg.model.cls_head.num_classes = len(LABELS)
    cfg.model.data_preprocessor.preprocessors.audios_present = dict(
        type='ActionDataPreprocessor'
    )
    cfg.model.test_cfg = dict(max_testing_views=4)
    cfg.param_scheduler = []
    # The one-second clip is cut from another one: a small rate never tells
    # the two apart.
    cfg.optim_wrapper.optimizer.lr = 4e-3
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=60, val_interval=60
    )
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.update(
        by_epoch=False, interval=60, save_best=None
    )
    cfg.work_dir = str(tmp_path / 'work')
    cfg.randomness = dict(seed=0)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


def test_train_test_and_predict(config, tmp_path):
    runner = Runner.from_cfg(config)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert losses[0] > 1
    assert losses[-1] < 0.05
    metrics = runner.test()
    assert metrics['acc/top1'] == 1.0
    checkpoint = tmp_path / 'work' / 'iter_60.pth'
    model = init_recognizer(config, str(checkpoint), device='cpu')
    for name, label in LABELS.items():
        sample = inference_recognizer(model, str(CLIPS / name))
        assert sample.pred_score.argmax() == label
        assert torch.isclose(sample.pred_score.sum(), torch.tensor(1.0))


def test_corrupt_file_names_itself(config, tmp_path):
    (tmp_path / 'clips.csv').write_text('file,label\ncorrupted.mp4,0\n')
    with pytest.raises(Exception, match=r'corrupted\.mp4'):
        Runner.from_cfg(config).train()
