# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a head says, by task, whichever head it is.

A task is ``label``, or ``verb`` and ``noun``.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor, nn


def head_output(model: nn.Module, inputs: Any) -> Any:
    """The head's output for all views, as MMAction2 computes it in a test.

    Args:
        model: A recognizer.
        inputs: What its data preprocessor gives.

    Returns:
        (batch * views, num_classes), or such a tensor for each task.
    """
    feats, more = model.extract_feat(inputs, test_mode=True)
    return model.cls_head(feats, **more)


def per_sample(output: Any, count: int) -> dict[str, Tensor]:
    """Logits by task, (count, views, num_classes).

    Args:
        output: Of :func:`head_output`.
        count: Number of samples.
    """
    if not isinstance(output, Mapping):
        output = dict(label=output)
    return {
        task: value.reshape(count, -1, value.shape[-1])
        for task, value in output.items()
    }


def probabilities(
    head: nn.Module, sample: BaseDataElement, task: str
) -> Tensor:
    """Probabilities of one sample, averaged over its views.

    Args:
        head: The head; averages of logits pass a softmax.
        sample: What it predicted.
        task: Which of its tasks.

    Returns:
        (num_classes,).
    """
    field = 'pred_score' if task == 'label' else f'pred_{task}_score'
    scores = sample.get(field)
    return scores if head.average_clips == 'prob' else scores.softmax(-1)
