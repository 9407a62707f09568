# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The rows of the papers' tables in the toy world, for `paper.py`.

A row keeps its experts' roles, its links and its head; experts, clips and
recipe are those of ``configs/toy``, of four layers instead of twelve.  Its
classifiers name shape and direction of motion, and pitch where there is
audio.  A spatial expert cannot know the direction, in whatever order it gets
its frames: what is missing has to come through the links.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.toy import PITCHES, class_names
from ca2st_mm.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
WIDTHS = {768: 64, 384: 32, 192: 16, 96: 8}
LAYERS, OF = 4, 12
EPOCHS, WARMUP = 6, 1  # before all rows are right about everything
EXPERTS = dict(
    CLIPExpert=('clip', 'clip_shape'),
    VideoMAEExpert=('videomae', 'videomae_direction'),
    ASTExpert=('ast', 'ast_pitch'),
)
# What a row may say of its experts; stochastic depth is for larger sets.
KEPT = ('adapter_ratio', 'frozen_parts', 'extra_layers', 'norm_eps')
KEPT += ('time_bin_order',)


@DATASETS.register_module()
class ToyClips(AudioVisualDataset):
    """Clips of the toy world, read once for all rows of a table.

    ``pitch``: the label tells the pitch, too.  ``verb_noun``: verb and noun
    are both that label.
    """

    read: ClassVar[dict[tuple, dict]] = {}

    def __init__(
        self, *args: Any, pitch: bool, verb_noun: bool, **kwargs: Any
    ) -> None:
        self.pitch, self.verb_noun = pitch, verb_noun
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The clips with their new labels."""
        clips = super().load_data_list()
        for clip in clips:
            label = clip['label'] // (1 if self.pitch else len(PITCHES))
            clip['label'] = np.array([label] * 2) if self.verb_noun else label
        return clips

    def __getitem__(self, index: int) -> dict:
        """A clip, from memory if it is there."""
        key = self.ann_file, self.pitch, self.verb_noun, index
        if key not in self.read:
            self.read[key] = super().__getitem__(index)
        return copy.deepcopy(self.read[key])


def toy_model(model: dict, experts: Path | None = None) -> dict:
    """The model of a row at the size of the toy world.

    Args:
        model: Of a config of the papers' size.
        experts: Folder of the trained toy experts; None starts at random.

    Raises:
        ValueError: If it has an expert that the toy world has not.
    """
    small = Config.fromfile(CONFIGS / '_base_/models/toy_experts.py')

    def shrunk(node: Any) -> Any:
        if isinstance(node, (list, tuple)):
            return type(node)(map(shrunk, node))
        if type(node) is int:
            return WIDTHS.get(node, node)
        if not isinstance(node, dict):
            return node
        if str(node.get('type', '')).endswith('Expert'):
            return expert(node)
        node = {key: shrunk(value) for key, value in node.items()}
        if 'between' in node:
            node.pop('drop_path_rate', None)
            if node['type'] in (
                'BottleneckCrossAttention',
                'CrossAttentionLink',
            ):
                node['num_heads'] = small.arch.num_heads
            if 'start_layer' in node:
                node['start_layer'] = node['start_layer'] * LAYERS // OF
            if 'layers' in node:
                known = {layer * LAYERS // OF for layer in node['layers']}
                node['layers'] = sorted(known)
        return node

    def expert(node: dict) -> dict:
        if node['type'] not in EXPERTS:
            raise ValueError(f'the toy world has no {node["type"]}')
        name, folder = EXPERTS[node['type']]
        cfg = copy.deepcopy(small[name].to_dict())
        cfg['arch']['num_layers'] = LAYERS
        cfg |= {key: node[key] for key in KEPT if key in node}
        if 'extra_layers' in cfg:
            cfg['extra_layers'] = cfg['extra_layers'] * LAYERS // OF
        if experts is not None:
            cfg['init_cfg'] = dict(
                type='Pretrained',
                checkpoint=str(experts / folder / 'expert.pth'),
                prefix='backbone.',
            )
        return cfg

    model = shrunk(model)
    streams = ['imgs', 'audios'] if uses_audio(model) else ['imgs']
    head = model['cls_head']
    head['label_smooth_eps'] = 0.0
    for key in {'num_classes', 'num_verbs', 'num_nouns'} & set(head):
        head[key] = len(class_names()) // (
            1 if uses_audio(model) else len(PITCHES)
        )
    model['data_preprocessor'] = dict(
        type='MultiStreamDataPreprocessor',
        preprocessors={
            name: small[f'{name}_preprocessor'].to_dict() for name in streams
        },
    )
    return model


def uses_audio(model: Mapping[str, Any]) -> bool:
    """Whether a model has an audio expert."""
    return 'audios' in model['backbone']['inputs'].values()


def toy_config(cfg: Config, data: Path, experts: Path) -> Config:
    """The config of a row in the toy world, with trained toy experts."""
    model = toy_model(cfg.model.to_dict(), experts)
    audio = uses_audio(model)
    base = 'ca2st' if audio else 'cast'
    toy = Config.fromfile(CONFIGS / f'toy/{base}_toy.py')
    toy.model = model
    verb_noun = model['cls_head']['type'] == 'VerbNounHead'
    read_once(toy, data, pitch=audio, verb_noun=verb_noun)
    metric = 'VerbNounMetric' if verb_noun else 'ClipAccMetric'
    toy.test_evaluator = dict(type=metric)
    toy.train_cfg.max_epochs = EPOCHS
    rise, fall = toy.param_scheduler
    rise.end, fall.begin, fall.end = WARMUP, WARMUP, EPOCHS
    toy.default_hooks.checkpoint.update(interval=EPOCHS, max_keep_ckpts=1)
    return Config(toy.to_dict(), filename=cfg.filename)


def expert_config(name: str, data: Path) -> Config:
    """The config that trains a toy expert of the depth of these rows."""
    cfg = Config.fromfile(CONFIGS / f'toy/experts/{name}.py')
    cfg.model.backbone.arch.num_layers = LAYERS
    read_once(cfg, data, pitch=True, verb_noun=False)
    return cfg


def read_once(cfg: Config, data: Path, **labels: bool) -> None:
    """Read clips in this process, once; the last model is the tested one."""
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(type='ToyClips', data_root=str(data), **labels)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=cfg.max_epochs)
    cfg.default_hooks.checkpoint.save_best = None
    cfg.default_hooks.pop('missed_validation')
    cfg.visualizer = dict(type='ActionVisualizer')
