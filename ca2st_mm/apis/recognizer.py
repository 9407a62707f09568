# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a clip to names: the one way in for every door.

Commands, windows over long files, cameras and pages all go through
:class:`Recognizer`, and the pipeline and the averaging are those of the
config's test, so each of them gives the answer that ``tools/test.py`` gives.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.runner.checkpoint import _load_checkpoint
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ca2st_mm import zoo

from .class_names import Names, names_of_model
from .models import build_model, fill_model, get_config
from .prediction import Prediction, rank
from .samples import Source, ViewPlan, dataset_of
from .stored_config import stored_config

WEIGHTS = ('.pth', '.pt', '.safetensors')


class Recognizer(BaseInferencer):
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

    model: nn.Module
    class_names: Names
    preprocess_kwargs = {'start', 'end'}
    postprocess_kwargs = {'top_k'}

    def __init__(
        self,
        model: Config | str | None,
        weights: str,
        device: str | None = None,
        show_progress: bool = False,
    ) -> None:
        super().__init__(model, weights, device, 'mmaction', show_progress)

    @classmethod
    def from_config(
        cls, config: Config | str | Path, checkpoint: str | Path, device='cpu'
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

    def _init_model(
        self, cfg: Config, weights: str, device: str = 'cpu'
    ) -> nn.Module:
        stored = _load_checkpoint(weights, 'cpu')
        meta = stored.get('meta') or {}
        if not cfg:
            # The base class keeps this very object as `self.cfg`.
            cfg.update(stored_config(stored, weights)._cfg_dict)
        model = build_model(cfg)
        fill_model(model, stored, weights)
        if model.cls_head.average_clips is None:
            raise ValueError(
                'the head of the config does not average the views; set '
                "model.cls_head.average_clips='prob'"
            )
        self.class_names = names_of_model(
            model.cls_head, meta, dataset_of(cfg)
        )
        model.cfg = cfg
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Callable:
        return ViewPlan(dataset_of(cfg)['pipeline'])

    def _init_visualizer(self, cfg: Config) -> None:
        """None: a config's visualizer writes into its work_dir."""

    def prepare(
        self,
        source: Source,
        start: float | None = None,
        end: float | None = None,
    ) -> dict:
        """Run the test pipeline on one source.

        Args:
            source: A media file, or a pair of a video and its sound file.
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
        scores = self._scores(self.batch(samples)['inputs'])
        return _per_sample(scores, len(samples))

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

    def _scores(self, inputs: Any) -> Any:
        """The head's output for all views; how MMAction2 predicts."""
        feats, more = self.model.extract_feat(inputs, test_mode=True)
        return self.model.cls_head(feats, **more)

    def _prediction(
        self, sample: BaseDataElement, logits: Mapping[str, Tensor], top_k: int
    ) -> Prediction:
        scores = {
            task: self._probabilities(sample.get(_field(task)))
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

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Averaged probabilities as they are, averaged logits by softmax."""
        averages = self.model.cls_head.average_clips
        return scores if averages == 'prob' else scores.softmax(-1)

    # MMEngine's protocol, for who calls the recognizer as an inferencer.

    def _inputs_to_list(self, inputs: Any) -> list:
        # A tuple is a video and its sound.
        return inputs if isinstance(inputs, list) else [inputs]

    def preprocess(
        self,
        inputs: list,
        batch_size: int = 1,
        start: float | None = None,
        end: float | None = None,
    ) -> Iterable[list]:
        """Yield batches of prepared samples."""
        waiting = (self.prepare(source, start, end) for source in inputs)
        return self._get_chunk_data(waiting, batch_size)

    @torch.no_grad()
    def forward(self, inputs: list) -> list:
        """Data samples of a batch, each with its logits by task."""
        data = self.batch(inputs)
        scores, samples = self._scores(data['inputs']), data['data_samples']
        predicted = self.model.cls_head.predict_by_feat(scores, samples)
        logits = _per_sample(scores, len(samples))
        return [
            (sample, {task: v[number] for task, v in logits.items()})
            for number, sample in enumerate(predicted)
        ]

    def visualize(self, inputs: list, preds: list) -> list:
        """Nothing: pictures are made by the commands."""
        return []

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


def _per_sample(scores: Any, count: int) -> dict[str, Tensor]:
    """(count * views, classes) -> (count, views, classes), by task."""
    if not isinstance(scores, Mapping):
        scores = dict(label=scores)
    return {
        task: value.reshape(count, -1, value.shape[-1])
        for task, value in scores.items()
    }


def _field(task: str) -> str:
    return 'pred_score' if task == 'label' else f'pred_{task}_score'
