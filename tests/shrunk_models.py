# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models and data loaders of our configs, small enough for a test."""

import copy

TINY = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
WIDTHS = {768: 24, 384: 12}
SIDE, SPEC = 32, (96, 36)
TIMM = dict(embed_dim=24, depth=2, num_heads=2)
EXPERTS = dict(
    CLIPExpert=dict(arch=TINY, img_size=SIDE),
    VideoMAEExpert=dict(arch=TINY, img_size=SIDE),
    ASTExpert=dict(arch=TINY, spec_size=SPEC),
    BEATsExpert=dict(
        arch=dict(TINY, patch_dims=12, conv_groups=4), spec_size=SPEC
    ),
    TimmExpert=dict(model_args=TIMM, img_size=SIDE, pretrained=False),
)


def shrink(node):
    """The same model with two layers of 24 channels and 32 px frames."""
    if isinstance(node, (list, tuple)):
        return type(node)(shrink(child) for child in node)
    if not isinstance(node, dict):
        return WIDTHS.get(node, node) if type(node) is int else node
    node = {key: shrink(value) for key, value in node.items()}
    kind = str(node.get('type', ''))
    node |= EXPERTS.get(kind, {})
    if kind == 'BottleneckCrossAttention':
        node['num_heads'] = 2
        if 'start_layer' in node:
            node['start_layer'] = min(node['start_layer'], 1)
    return node


def without_init(node):
    if isinstance(node, dict):
        return {
            key: without_init(value)
            for key, value in node.items()
            if key != 'init_cfg'
        }
    if isinstance(node, (list, tuple)):
        return type(node)(without_init(child) for child in node)
    return node


def shrink_loader(loader):
    """A data loader of a recipe: two clips, small frames and spectrograms."""
    loader = copy.deepcopy(loader.to_dict())
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    if loader['sampler']['type'] == 'WholeStepSampler':
        loader['sampler']['clips_per_step'] = 2
    dataset = loader['dataset']
    # Collects garbage in all loaded modules, half a second each time.
    dataset['serialize_data'] = False
    for step in dataset['pipeline']:
        if step['type'] == 'Resize':
            step['scale'] = tuple(
                SIDE if length == 224 else length for length in step['scale']
            )
        if 'crop_size' in step:
            step['crop_size'] = SIDE
        if step['type'] == 'ShortSideCrops':
            step['size'] = SIDE
        if step['type'] in ('LogMelSpectrogram', 'BEATsSpectrogram'):
            step.update(num_frames=SPEC[0], num_mels=SPEC[1])
    return loader
