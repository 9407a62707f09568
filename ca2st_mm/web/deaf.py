# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A model that listens, asked about a clip without sound.

Most configs refuse such clips, because training should.  Someone who tries
a clip wants an answer and the note that nobody listened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy

from ca2st_mm.apis import Recognizer
from ca2st_mm.apis.model_parts import SENSES, only_experts, senses_of
from ca2st_mm.apis.samples import ViewPlan, dataset_of
from ca2st_mm.models.backbones import MultiExpertBackbone


class WithoutSound:
    """The same model without the experts that listen.

    The weights are shared, not copied.

    Args:
        recognizer: The model.

    Attributes:
        possible: Whether the config refuses clips without sound, and the
            model can answer from what it sees.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._seeing: list[str] = []
        if isinstance(recognizer.model.backbone, MultiExpertBackbone):
            senses = senses_of(recognizer.model)
            self._seeing = senses.get(SENSES['imgs'], [])
        refused = recognizer.pipeline.missing_sound == 'raise'
        self.possible = refused and bool(self._seeing)

    @contextmanager
    def recognizer(self) -> Iterator[Recognizer]:
        """The model that does not listen; the whole one afterwards."""
        silent = copy(self._recognizer)
        steps = deepcopy(dataset_of(silent.cfg)['pipeline'])
        for step in steps:
            if step['type'] == 'LoadAudio':
                # Something to pack; the experts that would hear it are out.
                step['missing'] = 'silence'
        silent.pipeline = ViewPlan(steps)
        with only_experts(silent.model.backbone, self._seeing):
            yield silent
