# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Real files through training, testing and prediction."""

import pickle
from pathlib import Path

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from mmengine.runner import Runner
from shrunk_models import without_init

CLIPS = Path(__file__).resolve().parents[2] / 'shared' / 'clips'
ROOT = Path(__file__).resolve().parents[1]
# With AAC, Opus and MP3 audio, and without.
NAMES = (
    'flipping_pancake_opus.mkv',
    'flute_guitar_aac.mp4',
    'applying_makeup_mp3.avi',
    'arm_wrestling_noaudio.mp4',
    'short_1s_noaudio.mp4',
)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The toy's CA2ST on these clips, without audio where there is none."""
    if not CLIPS.is_dir():
        pytest.skip(f'real video clips not at {CLIPS}')
    rows = ''.join(f'{name},{label}\n' for label, name in enumerate(NAMES))
    (tmp_path / 'clips.csv').write_text('file,label\n' + rows)
    cfg = Config.fromfile(ROOT / 'configs/toy/ca2st_toy.py')
    for step in cfg.test_pipeline:
        if step.type == 'LoadAudio':
            step.missing_audio = 'drop'
    dataset = dict(
        type='AudioVisualDataset',
        ann_file=str(tmp_path / 'clips.csv'),
        data_prefix=dict(video=str(CLIPS)),
        num_classes=12,
        pipeline=cfg.test_pipeline,
    )
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=3)
        loader.dataset = dict(dataset, test_mode=split != 'train')
    cfg.model = without_init(cfg.model.to_dict())
    cfg.test_evaluator = [
        cfg.test_evaluator,
        dict(type='DumpResults', out_file_path=str(tmp_path / 'scores.pkl')),
    ]
    cfg.train_cfg.update(max_epochs=1, val_begin=1)
    cfg.default_hooks.checkpoint.save_best = None
    cfg.work_dir = str(tmp_path / 'work')
    cfg.randomness = dict(seed=0)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


def test_train_test_and_predict(config, tmp_path):
    run = Runner.from_cfg(config)
    run.train()
    assert run.iter == 2
    loss = run.message_hub.get_scalar('train/loss').current()
    assert 0 < loss < float('inf')
    metrics = run.test()
    assert metrics['acc/num_clips'] == len(NAMES)
    with open(tmp_path / 'scores.pkl', 'rb') as file:
        tested = [sample['pred_score'] for sample in pickle.load(file)]
    checkpoint = tmp_path / 'work' / 'epoch_1.pth'
    model = init_recognizer(config, str(checkpoint), device='cpu')
    for name, scores in zip(NAMES, tested, strict=True):
        sample = inference_recognizer(model, str(CLIPS / name))
        torch.testing.assert_close(sample.pred_score, scores)
