# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a clip to names: the one way in for every door.

Commands, windows over long files, cameras and pages all go through
:class:`Recognizer`, and the pipeline and the averaging are those of the
config's test, so each of them gives the answer that ``tools/test.py`` gives.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor

from ca2st_mm import zoo

from .inferencer import ConfigInferencer
from .models import get_config
from .prediction import Prediction, rank
from .samples import Source
from .scores import head_output, per_sample, probabilities

WEIGHTS = ('.pth', '.pt', '.safetensors')


class Recognizer(ConfigInferencer):
    """A trained model with the pipeline of its test and its class names.

    It is an inferencer of MMEngine: called with sources it returns
    ``dict(predictions=[...], visualization=[])``.  :meth:`predict` returns
    the same as objects; :meth:`prepare`, :meth:`batch` and :meth:`logits`
    are its steps, for who needs what lies between.

    Args:
        model: A config, or its file; None for the one in the checkpoint.
        weights: Path or address of a checkpoint, any that
            :func:`ca2st_mm.apis.load_weights` reads.
        device: Where the model runs; None for the best there is.
        show_progress: Whether a call shows a progress bar.

    Attributes:
        model: The recognizer, in eval mode.
        cfg: Its whole config.
        class_names: Class names by task: ``label``, or ``verb`` and
            ``noun``.

    Raises:
        ValueError: If the checkpoint does not fit the config, carries none
            where none is given, or class names and model disagree.
        FileNotFoundError: If the checkpoint is not there.
        ZooError: If weights cannot be had; says what to do.
    """

    @classmethod
    def from_config(
        cls,
        config: Config | str | Path,
        checkpoint: str | Path,
        device: str = 'cpu',
    ) -> 'Recognizer':
        """Load a model by its config and a checkpoint.

        Args:
            config: A config, or its file.
            checkpoint: Path or address.
            device: Where the model runs.
        """
        if not isinstance(config, Config):
            config = Config.fromfile(config)
        return cls(config, str(checkpoint), device)

    @classmethod
    def from_pretrained(
        cls, name_or_file: str | Path, device: str = 'cpu'
    ) -> 'Recognizer':
        """Load a model by one name.

        Args:
            name_or_file: One of :func:`ca2st_mm.list_models`, with the
                trained weights that the zoo knows for it; or a checkpoint
                that carries its config, as those of MMEngine and of
                ``tools/publish_model.py`` do.
            device: Where the model runs.
        """
        name = str(name_or_file)
        if name.endswith(WEIGHTS) or Path(name).is_file():
            return cls(None, name, device)
        return cls(get_config(name), zoo.SCHEME + zoo.find(name).name, device)

    def prepare(
        self,
        source: Source,
        start: float | None = None,
        end: float | None = None,
    ) -> dict:
        """Run the test pipeline on one source.

        Args:
            source: A media file, a pair of a video and its sound file, or
                an :class:`ArrayClip`.
            start: First second wanted; None for the beginning.
            end: Last second wanted; None for the end.

        Returns:
            A packed sample: ``inputs`` and ``data_samples``, whose metainfo
            has ``source``, ``start``, ``end`` and ``views``
            (:class:`Views`).

        Raises:
            FileNotFoundError: If there is no such file.
            SampleFault: If it cannot be used; names it and the cure.
        """
        return self.pipeline(source, start, end)

    def batch(self, samples: Sequence[Mapping]) -> dict:
        """Collate and normalise, as the test does.

        Args:
            samples: What :meth:`prepare` returns.

        Returns:
            ``inputs``, what the model takes, on its device, each stream
            (batch, views, ...), and ``data_samples``.
        """
        collated = self.collate_fn(list(samples))
        return self.model.data_preprocessor(collated, False)

    @torch.no_grad()
    def logits(self, samples: Sequence[Mapping]) -> dict[str, Tensor]:
        """What the head says of every view, before averaging.

        Args:
            samples: What :meth:`prepare` returns.

        Returns:
            Float (batch, views, num_classes) by task.
        """
        scores = head_output(self.model, self.batch(samples)['inputs'])
        return per_sample(scores, len(samples))

    def classify(
        self, samples: Sequence[Mapping], top_k: int = 5
    ) -> list[Prediction]:
        """Predict prepared samples in one batch.

        Args:
            samples: What :meth:`prepare` returns.
            top_k: How many names to give.
        """
        return [
            self._prediction(sample, logits, top_k)
            for sample, logits in self.forward(samples)
        ]

    def predict(
        self,
        sources: Source | list[Source],
        start: float | None = None,
        end: float | None = None,
        top_k: int = 5,
        batch_size: int = 1,
    ) -> list[Prediction]:
        """Predict one source or several.

        Args:
            sources: A source of :meth:`prepare`, or a list of them.
            start: First second wanted, of each.
            end: Last second wanted, of each.
            top_k: How many names to give.
            batch_size: How many go through the model at once.

        Raises:
            FileNotFoundError: If there is no such file.
            SampleFault: If a source cannot be used.
        """
        inputs = self._inputs_to_list(sources)
        return [
            prediction
            for samples in self.preprocess(inputs, batch_size, start, end)
            for prediction in self.classify(samples, top_k)
        ]

    def _prediction(
        self, sample: BaseDataElement, logits: Mapping[str, Tensor], top_k: int
    ) -> Prediction:
        scores = {
            task: probabilities(self.model.cls_head, sample, task)
            for task in logits
        }
        return Prediction(
            source=sample.source,
            start=sample.start,
            end=sample.end,
            ranked=rank(scores, self.class_names, top_k),
            logits={k: v.float().cpu().numpy() for k, v in logits.items()},
            views=sample.views,
        )

    @torch.no_grad()
    def forward(self, inputs: list) -> list:
        """Data samples of a batch, each with its logits by task."""
        data = self.batch(inputs)
        scores, samples = (
            head_output(self.model, data['inputs']),
            data['data_samples'],
        )
        predicted = self.model.cls_head.predict_by_feat(scores, samples)
        logits = per_sample(scores, len(samples))
        return [
            (sample, {task: v[number] for task, v in logits.items()})
            for number, sample in enumerate(predicted)
        ]

    def postprocess(
        self,
        preds: list,
        visualization: list,
        return_datasamples: bool = False,
        top_k: int = 5,
    ) -> dict:
        """Records of JSON, or data samples where those are asked for."""
        if return_datasamples:
            found = [sample for sample, _ in preds]
        else:
            found = [
                self._prediction(sample, logits, top_k).as_record()
                for sample, logits in preds
            ]
        return dict(predictions=found, visualization=visualization)
