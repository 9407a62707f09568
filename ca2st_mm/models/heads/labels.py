# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checks of labels before a loss."""

from torch import Tensor


def check_hard_labels(labels: Tensor, num_classes: int, name: str) -> None:
    """Refuse labels that are no class.

    PyTorch ignores the label -100 without a word, and on a GPU any other
    such label ends the process without naming it.

    Args:
        labels: Class indices, any shape.
        num_classes: Number of classes of the head.
        name: What is labelled, for the message.

    Raises:
        ValueError: Names the labels that are out of range.
    """
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.numel():
        raise ValueError(
            f'a {name} label lies in 0 to {num_classes - 1}, got '
            f'{wrong.tolist()}; the head and the annotation file must have '
            'the same classes'
        )
