# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What README and mix-in guide show works, at full size."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS, TRANSFORMS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from shrunk_models import without_init

from ca2st_mm.structures import Stream

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'docs/mix_in.md']
TEXT = '\n'.join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r'```python\n(.*?)```', TEXT, re.S)
CONFIGS = [block for block in BLOCKS if 'model = dict(' in block]
EXPERT = next(block for block in BLOCKS if 'class PoseExpert' in block)
INPUTS = dict(
    imgs=Stream((2, 3, 16, 224, 224), (2, 16)),
    audios=Stream((2, 1, 1024, 128), (2, 2)),
    poses=Stream((2, 8, 17, 2)),
)


@pytest.fixture
def pose_expert(monkeypatch):
    module = types.ModuleType('pose_expert')
    exec(EXPERT, module.__dict__)
    monkeypatch.setitem(sys.modules, 'pose_expert', module)
    yield
    MODELS._module_dict.pop('PoseExpert')


def load(block, folder):
    """Load a block as a config file in the root of a checkout."""
    path = folder / 'block.py'
    path.write_text(block.replace("'configs/", f"'{ROOT}/configs/"))
    return Config.fromfile(path)


@pytest.mark.parametrize('block', CONFIGS, ids=range(len(CONFIGS)))
def test_config_runs(block, tmp_path, meta_device, pose_expert):
    cfg = without_init(load(block, tmp_path).model.to_dict())
    cfg.pop('data_preprocessor', None)
    streams = set(cfg['backbone'].get('inputs', {'': 'imgs'}).values())
    with meta_device, torch.no_grad():
        model = MODELS.build(cfg).eval().to(meta_device)
        inputs = {k: INPUTS[k].map(torch.zeros) for k in streams}
        if cfg['type'] == 'MultiExpertRecognizer':
            feats = model.backbone(**inputs)
        else:
            feats = model.backbone(inputs['imgs'].values)
        samples = [ActionDataSample(), ActionDataSample()]
        model.cls_head.predict(feats, samples)  # as validation does
    for sample in samples:
        assert sample.pred_score.shape == (cfg['cls_head']['num_classes'],)


def test_the_stream_of_a_fourth_expert_trains(tmp_path, pose_expert):
    """Its pipeline packs it, and it is normalised and blended."""
    cfg = load(next(b for b in CONFIGS if 'PoseExpert' in b), tmp_path)
    pack = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[-1])
    results = {name: torch.zeros(one.values) for name, one in INPUTS.items()}
    batch = pseudo_collate([pack(dict(results, label=k)) for k in (0, 1)])
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    preprocess.blending.set_classes(dict(label=400))
    streams = preprocess(batch, training=True)['inputs']
    assert streams['poses'].values.shape == (2, *INPUTS['poses'].values)


def test_explained_config_is_the_real_one(tmp_path):
    shown = load(CONFIGS[0], tmp_path).model.backbone
    real = Config.fromfile(ROOT / 'configs/ca2st/ca2st_k400.py').model.backbone
    for link, other in zip(shown.links, real.links, strict=True):
        assert dict(link) == {k: other[k] for k in link}
    for name, expert in shown.experts.items():
        assert dict(expert) == {k: real.experts[name][k] for k in expert}
    for key in ('inputs', 'exchange', 'share_bottlenecks', 'time_encoders'):
        assert shown[key] == real[key]


def test_a_model_in_one_line(meta_device):
    block = next(block for block in BLOCKS if 'get_model' in block)
    # The experts' files are not here: the same lines without their weights.
    assert "pretrained='experts'" in block
    names = {}
    exec(block.replace("pretrained='experts'", 'pretrained=False'), names)
    assert names['model'].cls_head.num_classes == 400
