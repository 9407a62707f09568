# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What heads compute, written out in loops."""

import math

import torch


def smoothed(distribution, eps):
    """A distribution over classes with its share of the uniform one."""
    classes = len(distribution)
    return [(1 - eps) * p + eps / classes for p in distribution]


def one_hot(label, classes):
    return [float(index == label) for index in range(classes)]


def cross_entropy(scores, targets):
    """Mean over rows of -sum(p * log q), in float64."""
    rows = []
    for row, target in zip(scores.double().tolist(), targets, strict=True):
        total = math.log(sum(math.exp(score) for score in row))
        rows.append(
            sum(
                p * (total - score)
                for p, score in zip(target, row, strict=True)
            )
        )
    return sum(rows) / len(rows)


def over_views(scores, views, how):
    """Scores (B * views, K), views of a clip together, to one a clip."""
    clips = []
    for first in range(0, len(scores), views):
        rows = scores[first : first + views]
        if how == 'prob':
            rows = torch.stack([row.exp() / row.exp().sum() for row in rows])
        clips.append(rows if how is None else sum(rows) / views)
    return torch.stack(clips)
