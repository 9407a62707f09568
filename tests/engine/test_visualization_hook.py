# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions are drawn for every kind of input, in training runs, too."""

import cv2
import pytest
import tiny_models as tiny
import torch
from runs import VERB_NOUN, Clips, loader, recipe, tiny_model, train

CLIPS, EPOCHS = 3, 1
AUDIO = dict(
    type='MultiExpertBackbone',
    experts=dict(audio=tiny.AST),
    inputs=dict(audio='audios'),
    links=[],
)


class OneLabel(Clips):
    metainfo = dict(classes=['a', 'b', 'c', 'd'])


class VerbsAndNouns(Clips):
    metainfo = dict(classes=dict(verb=['a', 'b', 'c', 'd'], noun=list('xyz')))


def run(folder, model, inputs, dataset=OneLabel, labels=(0, 1, 2), **hook):
    """Train an epoch, with a validation after it."""
    labels = [torch.as_tensor(label) for label in labels]
    data = dataset(inputs, labels, bad=2)
    verbs = dataset is VerbsAndNouns
    metric = 'VerbNounMetric' if verbs else 'ClipAccMetric'
    hook = dict(type='VisualizationHook', enable=True, interval=1, **hook)
    config = recipe(EPOCHS, warmup=0)
    return train(
        dict(config, custom_hooks=[*config['custom_hooks'], hook]),
        model=model,
        train_dataloader=loader(data, 1),
        val_dataloader=loader(data, 2),
        val_cfg=dict(),
        val_evaluator=dict(type=metric, topk=(1,)),
        visualizer=dict(
            type='ActionVisualizer',
            vis_backends=[
                dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend'),
            ],
            name=str(folder),
        ),
        work_dir=str(folder / 'work'),
        checkpoint=dict(interval=99, save_last=False),
    )


@pytest.mark.parametrize('streams', ['imgs', 'imgs and audios', 'audios'])
def test_frames_or_spectrograms_are_drawn(tmp_path, streams):
    inputs = tiny.streams(CLIPS)
    inputs = {key: inputs[key] for key in inputs if key in streams}
    backbone = dict(
        zip(
            ['imgs', 'imgs and audios', 'audios'],
            [tiny.CAST, tiny.CA2ST, AUDIO],
            strict=True,
        )
    )[streams]
    run(
        tmp_path,
        tiny_model(backbone, inputs),
        inputs,
        out_dir=str(tmp_path / 'drawn'),
    )
    # Every readable clip.
    folders = {p.parent.name for p in (tmp_path / 'drawn').glob('*/frames_*')}
    assert folders == {'id 0_0', 'id 1_1'}
    [first, *rest] = sorted((tmp_path / 'drawn/id 0_0/frames_1').iterdir())
    size = tiny.SPEC if streams == 'audios' else (tiny.SIZE, tiny.SIZE)
    assert len(rest) + 1 == (1 if streams == 'audios' else tiny.FRAMES)
    image = cv2.imread(str(first))
    height, width = image.shape[:2]
    assert min(height, width) == 224 and image.std() > 10
    assert height / width == pytest.approx(size[0] / size[1], rel=0.01)


def test_verbs_and_nouns_go_to_the_backends_of_the_run(tmp_path):
    inputs = tiny.streams(CLIPS)
    run(
        tmp_path,
        tiny_model(tiny.CA2ST, inputs, VERB_NOUN),
        inputs,
        VerbsAndNouns,
        labels=[[0, 1], [1, 2], [2, 0]],
    )
    assert list((tmp_path / 'work').rglob('id 1_1/frames_*/0.png'))
