# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a dataset does with a sample that cannot be used.

Every policy keeps the number of batches: which samples form a batch is the
sampler's business, so processes stay in step whatever fails in one of them.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from ca2st_mm.structures import Stream

from .faults import SampleFault
from .quarantine import Quarantine


class Samples(Protocol):
    """What a policy needs of a dataset."""

    def __len__(self) -> int: ...

    def get_data_info(self, idx: int) -> dict:
        """What the annotation says of a sample."""

    def load_sample(self, idx: int) -> Any:
        """The sample through the pipeline; raises SampleFault."""


class Raise:
    """The first bad sample stops the run."""

    def fetch(self, data: Samples, index: int) -> Any:
        """One sample.

        Args:
            data: The dataset.
            index: Its number.

        Raises:
            SampleFault: If it cannot be used.
        """
        return data.load_sample(index)

    def fetch_batch(self, data: Samples, indices: list[int]) -> list:
        """The samples of one batch.

        Args:
            data: The dataset.
            indices: Their numbers.
        """
        return [self.fetch(data, index) for index in indices]


class Substitute(Raise):
    """Another sample takes the place of a bad one.

    Which one depends on the index of the bad sample alone, so it is the
    same in every worker and process and in every epoch.

    Args:
        quarantine: Where bad samples are written down.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        self.quarantine = quarantine

    def fetch(self, data: Samples, index: int) -> Any:
        """One sample, or its substitute.

        Args:
            data: The dataset.
            index: Its number.

        Raises:
            TooManyBadSamples: If the cap is passed.
            SampleFault: If no sample of the set can be used.
        """
        sample, fault = self._try(data, index)
        return self._substitute(data, index, fault) if fault else sample

    def _try(
        self, data: Samples, index: int
    ) -> tuple[Any, SampleFault | None]:
        """A sample, or why there is none, which is written down."""
        try:
            return data.load_sample(index), None
        except SampleFault as fault:
            info = data.get_data_info(index)
            self.quarantine.add(info, fault.reason, len(data))
            return None, fault

    def _substitute(
        self, data: Samples, index: int, fault: SampleFault
    ) -> Any:
        """The first usable sample in an order that the index decides."""
        for other in _others(index, len(data)):
            sample, another_fault = self._try(data, other)
            if another_fault is None:
                return sample
        raise fault


class Skip(Substitute):
    """A bad sample is left out; its batch is smaller by one.

    Where a whole batch is bad, one substitute stands in for it, and so it
    does where single samples are asked for (by a wrapper such as
    ``RepeatDataset``).

    Args:
        quarantine: Where bad samples are written down.
    """

    def fetch_batch(self, data: Samples, indices: list[int]) -> list:
        """The usable samples of one batch, at least one.

        Args:
            data: The dataset.
            indices: Their numbers.
        """
        pairs = [self._try(data, index) for index in indices]
        good = [sample for sample, fault in pairs if fault is None]
        return good or [self._substitute(data, indices[0], pairs[0][1])]


class MarkUnreadable(Substitute):
    """In evaluation a bad sample keeps its place, empty and marked.

    Its inputs are zeros, its label and ``filename`` its own, and the meta
    key ``unreadable`` gives the reason.  ``ReadableClips`` leaves it out of
    a metric and states how many were used; a metric that knows nothing of
    the mark counts a prediction from nothing, so no clip vanishes.

    Args:
        quarantine: Where bad samples are written down.
    """

    def fetch(self, data: Samples, index: int) -> Any:
        """One sample, or an empty one with a mark.

        Args:
            data: The dataset.
            index: Its number.
        """
        sample, fault = self._try(data, index)
        if fault is None:
            return sample
        other = self._substitute(data, index, fault)
        return _empty_like(other, data.get_data_info(index), fault.reason)


def make_policy(
    on_error: str, test_mode: bool, quarantine: Quarantine | None
) -> Raise:
    """The policy of a dataset.

    Args:
        on_error: ``'raise'``, ``'skip'`` or ``'substitute'``.
        test_mode: Whether the set is for evaluation.
        quarantine: Where bad samples are written down; None for ``'raise'``.

    Raises:
        ValueError: If the choice is unknown, has no quarantine, or would
            count clips twice in evaluation.
    """
    if on_error == 'raise':
        return Raise()
    if on_error not in ('skip', 'substitute'):
        raise ValueError(
            f"on_error is 'raise', 'skip' or 'substitute', not {on_error!r}."
        )
    if quarantine is None:
        raise ValueError(
            f"on_error='{on_error}' needs quarantine='<file>.csv', the list "
            'of the samples that cannot be used.'
        )
    if not test_mode:
        return dict(skip=Skip, substitute=Substitute)[on_error](quarantine)
    if on_error == 'substitute':
        raise ValueError(
            "on_error='substitute' would count some clips twice in "
            "evaluation: use on_error='skip' with test_mode=True."
        )
    return MarkUnreadable(quarantine)


def _others(index: int, size: int) -> Iterator[int]:
    """All other indices in an order that depends on the index alone."""
    for other in np.random.default_rng([index, size]).permutation(size):
        if other != index:
            yield int(other)


def _empty_like(sample: dict, info: dict, reason: str) -> dict:
    """Zeros in the shape of a packed sample, labelled as ``info`` says."""
    element = sample['data_samples']
    if 'label' in info:
        element.set_gt_label(info['label'])
    element.set_metainfo(
        dict(
            filename=info['filename'],
            clip_id=info.get('clip_id'),
            unreadable=reason,
        )
    )
    return dict(sample, inputs=_zeros(sample['inputs']))


def _zeros(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: _zeros(value) for name, value in inputs.items()}
    if isinstance(inputs, Stream):
        return inputs.map(torch.zeros_like)
    return torch.zeros_like(inputs)
