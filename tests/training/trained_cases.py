# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Golden cases that train, with the batches that a plain loop feeds them."""

import copy
import math

import torch
from golden_cases import GoldenCase, normal
from mmaction.registry import MODELS
from runs import preprocessor

CLIPS = 4
SEED, PROB, ALPHA, SMOOTHING = 7, 0.5, 0.8, 0.1  # of blended batches
MADE = {}


class TrainedCase(GoldenCase):
    """A golden case with the experts frozen as in training."""

    def expert(self, name):
        return {
            k: v
            for k, v in super().expert(name).items()
            if k != 'frozen_parts'
        }

    def data(self):
        own = self.inputs()
        inputs = {
            key: torch.from_numpy(normal(key, (CLIPS, *value.shape[1:])))
            for key, value in own.items()
            if not key.endswith('_times')
        }
        for key in set(own) - set(inputs):
            inputs[key] = own[key][:1].expand(CLIPS, -1) * 1.0
        return inputs, [self.label(i) for i in range(CLIPS)]

    def label(self, number):
        classes = self.spec['classes']
        if isinstance(classes, int):
            return number % classes
        # As our heads take it.
        return torch.tensor([number % classes[k] for k in ('verb', 'noun')])

    def trainable(self):
        if self.name not in MADE:  # weights by rule take a while
            model = self.model()
            streams = preprocessor(self.inputs())
            model.data_preprocessor = MODELS.build(streams)
            MADE[self.name] = model
        return copy.deepcopy(MADE[self.name])

    def batch(self, inputs, labels, step):
        """What the plain loop feeds, and the targets of its classifiers."""
        if isinstance(labels[0], int):
            return inputs, torch.tensor(labels)[:, None]
        return inputs, torch.stack(labels)


class BlendedCase(TrainedCase):
    """Pictures mixed, spectrograms cut, labels mixed and smoothed."""

    def trainable(self):
        model = super().trainable()
        blending = dict(
            type='MultiStreamBlending',
            num_classes=self.spec['classes'],
            alpha=ALPHA,
            prob=PROB,
            cut=('audios',),
        )
        streams = preprocessor(self.inputs())
        streams.update(type='MultiStreamDataPreprocessor', blending=blending)
        model.data_preprocessor = MODELS.build(streams)
        model.cls_head.label_smooth_eps = SMOOTHING
        return model

    def batch(self, inputs, labels, step):
        """The same blend, written down once more."""
        classes = self.spec['classes']
        soft = torch.eye(classes)[labels]
        torch.manual_seed(SEED + step)
        if torch.rand(()) < PROB:
            share = torch.distributions.Beta(ALPHA, ALPHA).sample().item()
            middle, half = torch.rand(2), math.sqrt(1 - share) / 2
            low, high = (
                (middle - half).clamp(0, 1),
                (middle + half).clamp(0, 1),
            )
            share = 1 - (high - low).prod().item()
            pictures, sounds = inputs['imgs'], inputs['audios'].clone()
            height, width = sounds.shape[-2:]
            size = torch.tensor([height, width])
            (top, left), (bottom, right) = (
                (edge * size).round().int().tolist() for edge in (low, high)
            )
            for own, other in ((0, 1), (1, 0)):
                sounds[own, ..., top:bottom, left:right] = inputs['audios'][
                    other, ..., top:bottom, left:right
                ]
            partners = [1, 0]
            inputs = dict(
                inputs,
                imgs=share * pictures + (1 - share) * pictures[partners],
                audios=sounds,
            )
            soft = share * soft + (1 - share) * soft[partners]
        soft = (1 - SMOOTHING) * soft + SMOOTHING / classes
        return inputs, soft[:, None]
