# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every config builds, learns in all of its parts and names its files."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmaction.registry import DATASETS, MODELS, TRANSFORMS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from shrunk_models import shrink, without_init

from ca2st_mm.datasets.benchmarks import BENCHMARKS
from ca2st_mm.engine.preflight import (
    MissingFileError,
    check_classes,
    check_files,
)
from ca2st_mm.structures import Stream

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS).with_suffix(''))
    for path in CONFIGS.rglob('*.py')
    # Those beyond the papers: test_beyond.py; robustness: test_recipes.py.
    if not {'_base_', 'beyond', 'robustness'} & set(path.parts)
    # Rows of tables: test_ablations.py.
    and path.parent.parent.name != 'ablations'
    and path.stem != 'ast_audioset'  # no recipe: it predicts only
)
PUBLISHED = [name for name in NAMES if not name.startswith('toy/')]
# Of those with the authors' switches one a family.
BUILT = [
    name
    for name in NAMES
    if not name.endswith('_as_released')
    or name.endswith(('activitynet_as_released', 'vggsound_as_released'))
]

# Nothing reads the patches of a class-token expert after its last exchange,
# so these attentions of the last layer cannot learn.
WITHOUT_EFFECT = {
    ('spatial_temporal',): ['spatial_temporal.a_from_b'],
    ('spatial_audio',): ['spatial_audio.a_from_b', 'spatial_audio.b_from_a'],
    ('spatial_temporal', 'spatial_audio', 'temporal_audio'): [
        'spatial_audio.a_from_b',
        'temporal_audio.b_from_a',
    ],
}


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def model_cfg(name):
    cfg = without_init(load(name).model.to_dict())
    return cfg if name.startswith('toy/') else shrink(cfg)


def experts_of(cfg):
    backbone = cfg['backbone']
    return list(backbone.get('experts', {'': backbone}).values())


def random_streams(cfg):
    """One sample of every stream that experts may read."""
    sizes = {}
    for expert in experts_of(cfg):
        sizes.update(expert)
    side = sizes.get('img_size', 224)
    shape = (1, 3, 16, side, side)
    if cfg['type'] == 'Recognizer2D':
        shape = (8, 3, side, side)
    spectrogram = torch.rand(1, 1, *sizes.get('spec_size', (1024, 128)))
    return dict(
        imgs=Stream(
            torch.randint(256, shape, dtype=torch.uint8),
            torch.linspace(0, 2, 16)[None],
        ),
        audios=Stream(
            255 * spectrogram, torch.tensor([[0.0, 4.0]]), torch.ones(1)
        ),
    )


def random_batch(cfg, size=2):
    preprocessors = cfg['data_preprocessor'].get('preprocessors')
    samples = []
    for index in range(size):
        inputs = random_streams(cfg)
        if preprocessors:
            inputs = {name: inputs[name] for name in preprocessors}
        else:
            audio = cfg['type'] == 'RecognizerAudio'
            inputs = inputs['audios' if audio else 'imgs'].values
        label = index
        if cfg['cls_head']['type'] == 'VerbNounHead':
            label = torch.tensor([index, index + 1])
        sample = ActionDataSample().set_gt_label(label)
        samples.append(dict(inputs=inputs, data_samples=sample))
    return pseudo_collate(samples)


def without_effect(cfg, model):
    """Prefixes of parameters of the last layer that cannot learn."""
    links = cfg['backbone'].get('links')
    if not links or all(
        expert.pools_patches for expert in model.backbone.experts.values()
    ):
        return []
    names = tuple('_'.join(link['between']) for link in links)
    last = model.backbone.num_layers - 1
    return [f'backbone.links.{last}.{part}.' for part in WITHOUT_EFFECT[names]]


@pytest.mark.parametrize('name', BUILT)
def test_every_trained_parameter_learns(name):
    torch.manual_seed(0)
    cfg = model_cfg(name)
    # In eval mode nothing is dropped.
    model = MODELS.build(cfg).eval()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for parameter in trained.values():  # the zeros of the start hide faults
        torch.nn.init.normal_(parameter, std=0.2)
    data = model.data_preprocessor(random_batch(cfg), training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    # DistributedDataParallel waits for all of them; so we do without its
    # find_unused_parameters.
    assert not [n for n, p in trained.items() if p.grad is None]
    still = {n for n, p in trained.items() if not (p.grad != 0).any()}
    idle = tuple(without_effect(cfg, model))
    expected = {n for n in trained if idle and n.startswith(idle)}
    assert still == expected


@pytest.mark.parametrize('name', NAMES)
def test_pipelines_and_schedule_build(name):
    cfg = load(name)
    for loader in ('train', 'val', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert dataset.type in DATASETS
        for transform in dataset.pipeline:
            TRANSFORMS.build(transform)
        if loader != 'train':
            assert dataset.test_mode
    assert cfg.custom_imports.imports == ['ca2st_mm']
    assert cfg.default_scope == 'mmaction'
    assert 'find_unused_parameters' not in cfg  # all learn; see above
    for schedule in cfg.param_scheduler:
        last = schedule.get('end', schedule.get('total_steps'))
        assert last <= cfg.train_cfg.max_epochs


def bases_of(path):
    """The base files that a config names itself."""
    [bases] = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_'
    ] or [[]]
    bases = [bases] if isinstance(bases, str) else bases
    return [(path.parent / base).resolve() for base in bases]


def assert_few_files(name, files, deep):
    """A config with its bases, and theirs."""
    found = level = {(CONFIGS / f'{name}.py').resolve()}
    depth = 0
    while level:
        depth += 1
        level = {base for path in level for base in bases_of(path)}
        found = found | level
    assert depth <= deep and len(found) <= files


@pytest.mark.parametrize('name', NAMES)
def test_a_recipe_is_at_most_five_files_three_deep(name):
    assert_few_files(name, 5, 3)


@pytest.mark.parametrize('name', ['ca2st/ca2st_k400', 'toy/ast_toy'])
def test_a_printed_config_is_the_same_config(name, tmp_path):
    """``print(Config.fromfile(...).pretty_text)``, or ``cfg.dump``."""
    cfg = load(name)
    cfg.dump(tmp_path / 'printed.py')
    assert Config.fromfile(tmp_path / 'printed.py').to_dict() == cfg.to_dict()


def test_a_link_of_version_0_1_can_replace_the_experts_of_an_inherited_one():
    """A user's config of that version: ``axes=dict(...)``, other experts."""
    cfg = model_cfg('cava/cava_vggsound')
    link = dict(cfg['backbone']['links'][0])
    link['axes'] = dict(temporal='all', audio='all')
    experts = cfg['backbone']['experts']
    experts['temporal'] = dict(experts.pop('spatial'), type='VideoMAEExpert')
    del experts['temporal']['frame_stride']
    cfg['backbone'].update(
        links=[link], inputs=dict(temporal='imgs', audio='audios')
    )
    with pytest.warns(DeprecationWarning, match='between='):
        backbone = MODELS.build(cfg['backbone'])
    assert 'temporal_audio' in backbone.links[0]


@pytest.mark.parametrize(
    'name',
    PUBLISHED
    + [
        str(path.relative_to(CONFIGS).with_suffix(''))
        for folder in ('beyond', 'robustness')
        for path in sorted((CONFIGS / folder).glob('*.py'))
    ],
)
def test_classes_agree_and_a_missing_list_comes_with_its_tool(
    name, tmp_path, monkeypatch
):
    cfg = load(name)
    monkeypatch.chdir(tmp_path)
    for mode in ('train', 'test'):
        check_classes(cfg, mode)
        with pytest.raises(MissingFileError) as caught:
            check_files(cfg, mode)
        lines = [x for x in str(caught.value).splitlines() if '.csv: ' in x]
        assert lines
        for line in lines:
            [tool] = re.findall(r'`ca2st data prepare (\w+)`', line)
            assert tool in BENCHMARKS
