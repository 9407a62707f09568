# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a clip to class names.

The pipeline (:mod:`.sources`) and the averaging of views are those of the
config's test, so every entry point gives the answer of ``tools/test.py``.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from torch import Tensor, nn

from ca2st_mm.checkpoints import load_weights, open_checkpoint
from ca2st_mm.checkpoints.sharing import (
    build_model,
    push_to_hub,
    save_pretrained,
)
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.datasets.transforms.audio_loading import MISSING_AUDIO
from ca2st_mm.datasets.transforms.formatting import CANNOT_DROP
from ca2st_mm.engine.checkpointing import last_whole_checkpoint
from ca2st_mm.engine.launch import read_config
from ca2st_mm.engine.precision import autocast, choose_precision
from ca2st_mm.models.backbones import MultiExpertBackbone
from ca2st_mm.structures import as_streams
from ca2st_mm.utils.building import building
from ca2st_mm.utils.errors import check_choice
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.zoo import IN_FOLDER

from .modality_contributions import AUDIO, contributions_of
from .models import get_config, is_listed
from .prediction import (
    Failure,
    Prediction,
    names_of_model,
    per_sample,
    rank,
    unbatched,
)
from .sources import InferencePipeline, Source, dataset_of, name_of
from .stored_config import stored_config
from .streaming import predict_stream
from .windows import Job


class Recognizer(BaseInferencer):
    """A trained model with the pipeline of its test and its class names.

    :meth:`predict` is :meth:`prepare`, then :meth:`classify`.  Called with
    sources, as an inferencer of MMEngine, it returns
    ``dict(predictions=[...], visualization=[])``.  Nothing changes the model,
    so several threads may use it.

    Args:
        model: A config, or its file; None for the one in the checkpoint.
        weights: Path or URL of a checkpoint, any that
            :func:`ca2st_mm.apis.load_weights` reads.
        device: Where the model runs; None for the best there is.
        show_progress: Whether a call shows a progress bar.
        precision: 'auto', 'float32', 'bfloat16' or 'float16', see
            :func:`~ca2st_mm.engine.precision.choose_precision`; None for the
            ``precision`` of the config, float32 if it has none.

    Attributes:
        precision: 'float32', 'bfloat16' or 'float16'.
        model: The recognizer, in eval mode.
        cfg: Its whole config.
        class_names: Class names by task: ``label``, or ``verb`` and
            ``noun``.
        about: What the config says about the model's answers (``about``),
            e.g. that it knows toy classes only; None if nothing.

    Raises:
        ValueError: If the checkpoint does not fit the config, carries none
            where none is given, class names and model disagree, or the
            config says ``LoadAudio(missing_audio='drop')`` and cannot.
        FileNotFoundError: If there is no such checkpoint.
        ZooError: If weights cannot be had; says what to do.

    Example:
        >>> recognizer = Recognizer.from_pretrained('ca2st.pth')
        >>> [prediction] = recognizer.predict('clip.mp4', top_k=3)
        >>> [name for name, _ in prediction.ranked['label']]
        ['...', '...', '...']
    """

    preprocess_kwargs: set = {'start', 'end', 'missing_audio'}
    forward_kwargs: set = {'top_k'}
    stream = predict_stream

    def __init__(
        self,
        model: Config | str | None,
        weights: str,
        device: str | None = None,
        show_progress: bool = False,
        precision: str | None = None,
    ) -> None:
        super().__init__(model, weights, device, 'mmaction', show_progress)
        self.precision = choose_precision(
            precision or self.cfg.get('precision', 'float32'), self.device
        )
        drops = self.pipeline.missing_audio == 'drop'
        if drops and (reason := self.why_not_drop()):
            raise ValueError(reason)

    @classmethod
    def from_config(
        cls,
        config: Config | str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        precision: str | None = None,
    ) -> 'Recognizer':
        """Load a model by its config, or its file, and a checkpoint."""
        if not isinstance(config, Config):
            config = read_config(str(config))
        return cls(config, str(checkpoint), device, precision=precision)

    @classmethod
    def from_pretrained(
        cls,
        name_or_file: str | Path,
        device: str | None = None,
        precision: str | None = None,
    ) -> 'Recognizer':
        """Load a model by one name.

        Args:
            name_or_file: One of :func:`ca2st_mm.list_models`, with the
                trained weights that the zoo knows for it; or a source that
                carries its config: a checkpoint of MMEngine, a folder of
                :meth:`save_pretrained`, the work folder of a training run
                (its best checkpoint, else its last), or
                ``owner/name@revision`` on the Hugging Face Hub.
            device: Where the model runs; None for the best there is.
            precision: As of the class.
        """
        name = trained_weights(str(name_or_file))
        config = get_config(name) if is_listed(name) else None
        return cls(config, name, device, precision=precision)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def autocast(self) -> torch.autocast:
        """The context in which the model computes in :attr:`precision`."""
        return autocast(self.precision, self.device)

    def fingerprint(self) -> dict[str, str]:
        """What its answers depend on.

        The precision, and hashes of the weights and of what the config says:
        model, test pipeline, classes.

        Example:
            >>> sorted(recognizer.fingerprint())
            ['config', 'precision', 'weights']
        """
        steps = dataset_of(self.cfg)['pipeline']
        said = self.cfg.model, steps, self.class_names
        text = json.dumps(said, sort_keys=True, default=str)
        return dict(
            weights=sha256_of_tensors(self.model.state_dict()),
            config=hashlib.sha256(text.encode()).hexdigest(),
            precision=self.precision,
        )

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write a folder that :meth:`from_pretrained` takes.

        The options are those of :func:`ca2st_mm.apis.save_pretrained`.
        """
        return save_pretrained(self.model, folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Write a repository of the Hub that :meth:`from_pretrained` takes.

        The options are those of :func:`ca2st_mm.apis.push_to_hub`.
        """
        return push_to_hub(self.model, repo_id, **options)

    def prepare(
        self,
        source: Source,
        start: float | None = None,
        end: float | None = None,
        missing_audio: str | None = None,
    ) -> dict:
        """Run the test pipeline on one source.

        Args:
            source: A media file, a :class:`VideoAndAudio`, or an
                :class:`ArrayClip`.
            start: First second wanted; None for the beginning.
            end: Last second wanted; None for the end.
            missing_audio: What is done if it has no audio: ``'raise'``;
                ``'silence'``: the model is given silence; ``'drop'``: the
                experts that read audio are left out.  None for what the
                config says; where that is ``'raise'``, which suits training,
                for ``'drop'`` if the model can.

        Returns:
            A packed sample: ``inputs`` and ``data_samples``, whose metainfo
            has ``source``, ``start``, ``end`` and ``views``
            (:class:`Views`).

        Raises:
            FileNotFoundError: If there is no such file.
            SampleFault: If it cannot be used; names it and what to do.
            ValueError: If ``missing_audio`` is none of these, or ``'drop'``
                is not possible.
        """
        if missing_audio is None:
            refuses = self.pipeline.missing_audio == 'raise'
            if refuses and not self.why_not_drop():
                missing_audio = 'drop'
        else:
            check_choice('missing_audio', missing_audio, MISSING_AUDIO)
            if missing_audio == 'drop' and (reason := self.why_not_drop()):
                raise ValueError(reason)
        return self.pipeline(source, start, end, missing_audio)

    def batch(self, samples: Sequence[Mapping]) -> dict:
        """Collate and normalise samples of :meth:`prepare`.

        Returns:
            ``inputs``, on the model's device, each stream (batch, views,
            ...), and ``data_samples``.
        """
        collated = self.collate_fn(list(samples))
        return self.model.data_preprocessor(collated, False)

    @torch.no_grad()
    def logits(
        self,
        samples: Sequence[Mapping],
        experts: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """Logits of every view, before averaging.

        Args:
            samples: What :meth:`prepare` returns.
            experts: Which experts run; None for all.

        Returns:
            Float (batch, views, num_classes) by task.
        """
        inputs = self.batch(samples)['inputs']
        with self.autocast():
            output = head_output(self.model, inputs, experts)
        return per_sample(output, len(samples))

    def probabilities(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Average :meth:`logits` over the views, as the test does.

        Returns:
            Probabilities (batch, num_classes) by task.
        """
        head = self.model.cls_head
        averaged = {
            task: head.average_clip(value.flatten(0, 1).float(), value.size(1))
            for task, value in logits.items()
        }
        if head.average_clips != 'prob':
            averaged = {t: score.softmax(-1) for t, score in averaged.items()}
        return averaged

    def classify(
        self,
        samples: Sequence[Mapping],
        top_k: int = 5,
        modalities: bool = False,
    ) -> list[Prediction]:
        """Predict samples of :meth:`prepare` in one batch.

        Args:
            samples: What :meth:`prepare` returns.
            top_k: How many classes to give.
            modalities: Whether parts of the model are to answer alone, too.

        Raises:
            ValueError: If ``modalities`` is set for a model with one expert.
        """
        predictions = [found for _, found in self.forward(samples, top_k)]
        if not modalities:
            return predictions
        return [
            replace(prediction, modalities=found.answers_of(self.class_names))
            for prediction, found in zip(
                predictions, contributions_of(self, samples), strict=True
            )
        ]

    def predict(
        self,
        sources: Source | Sequence[Source],
        start: float | None = None,
        end: float | None = None,
        top_k: int = 5,
        batch_size: int = 1,
        missing_audio: str | None = None,
        errors: str = 'raise',
        modalities: bool = False,
    ) -> list[Prediction | Failure]:
        """Predict one source or several.

        Args:
            sources: A source of :meth:`prepare`, or a list or tuple of them.
            start: First second wanted, of each.
            end: Last second wanted, of each.
            top_k: How many classes to give.
            batch_size: How many go through the model at once.
            missing_audio: See :meth:`prepare`.
            errors: What a source that cannot be used does: ``'raise'``;
                ``'return'``: a :class:`Failure` in its place.
            modalities: Whether parts of the model are to answer alone, too.

        Returns:
            One prediction for each source.

        Raises:
            FileNotFoundError: If there is no such file.
            SampleFault: If a source cannot be used.
            ValueError: If ``modalities`` is set for a model with one expert,
                or another option is none of these.
        """
        span = dict(start=start, end=end)
        jobs = [
            Job(source, start, end, dict(source=name_of(source), **span))
            for source in self._inputs_to_list(sources)
        ]
        options = top_k, batch_size, missing_audio, modalities, errors
        return list(self.predict_each(jobs, *options))

    def predict_each(
        self,
        jobs: Iterable[Job | Failure],
        top_k: int = 5,
        batch_size: int = 1,
        missing_audio: str | None = None,
        modalities: bool = False,
        errors: str = 'return',
    ) -> Iterator[Prediction | Failure]:
        """Predict jobs as they come; no more than a batch is in memory.

        Args:
            jobs: What to predict, such as
                :func:`~ca2st_mm.apis.windows.windows_of` a file; a lazy
                iterable stays lazy, and its failures pass through.
            top_k: How many classes to give.
            batch_size: How many go through the model at once; jobs that
                cannot be predicted take no place.
            missing_audio: See :meth:`prepare`.
            modalities: Whether parts of the model are to answer alone, too.
            errors: What a job that cannot be predicted does: ``'return'``:
                it is answered by a :class:`Failure`; ``'raise'``: it stops
                all.

        Yields:
            One answer a job, in their order.

        Raises:
            FileNotFoundError: If there is no such file, and ``'raise'``.
            SampleFault: If a source cannot be used, and ``'raise'``.
            ValueError: If ``modalities`` is set for a model with one expert,
                or another option is none of these.

        Example:
            >>> from ca2st_mm.apis.windows import windows_of
            >>> jobs = windows_of('clip.mp4', window=1.0, stride=1.0)
            >>> for answer in recognizer.predict_each(jobs, batch_size=8):
            ...     print(type(answer).__name__, answer.source, answer.start)
            Prediction clip.mp4 0.0
            Prediction clip.mp4 1.0
        """
        check_choice('errors', errors, ('raise', 'return'))
        if batch_size < 1:
            raise ValueError(f'batch_size is at least 1, got {batch_size}')
        waiting: list[Job | Failure] = []
        samples: list[dict] = []

        def answers() -> Iterator[Prediction | Failure]:
            found: Iterator[Prediction] = iter(())
            if samples:
                found = iter(self.classify(samples, top_k, modalities))
            for job in waiting:
                if isinstance(job, Failure):
                    yield job
                else:
                    yield replace(next(found), **job.shown)
            waiting.clear()
            samples.clear()

        for job in jobs:
            if not isinstance(job, Failure):
                span = job.start, job.end
                try:
                    sample = self.prepare(job.source, *span, missing_audio)
                    samples.append(sample)
                except (SampleFault, FileNotFoundError) as error:
                    if errors == 'raise':
                        raise
                    job = Failure.of(error, **job.shown)
            waiting.append(job)
            if len(samples) in (0, batch_size):
                yield from answers()
        yield from answers()

    def why_not_drop(self) -> str | None:
        """Why the experts that read audio cannot be left out, or None."""
        backbone = self.model.backbone
        streams = set(getattr(backbone, 'inputs', {'audio': AUDIO}).values())
        if AUDIO not in streams:
            return None
        if streams == {AUDIO}:
            return (
                "missing_audio='drop' leaves the audio expert out, but the "
                "model has no other one; use missing_audio='silence'"
            )
        return None if self.pipeline.packs_presence else CANNOT_DROP

    def left_out(self, sample: Mapping) -> tuple[str, ...]:
        """Experts that have no part in the answer for a prepared sample."""
        inputs, backbone = sample['inputs'], self.model.backbone
        if not isinstance(backbone, MultiExpertBackbone) or not isinstance(
            inputs, Mapping
        ):
            return ()
        present = {
            name
            for name, stream in as_streams(inputs).items()
            if stream.present is None or stream.present.any()
        }
        return tuple(e for e, s in backbone.inputs.items() if s not in present)

    def preprocess(
        self, inputs: list, batch_size: int = 1, **options: Any
    ) -> Iterator[list]:
        """Yield batches of prepared samples."""
        waiting = (self.prepare(source, **options) for source in inputs)
        return self._get_chunk_data(waiting, batch_size)

    @torch.no_grad()
    def forward(self, inputs: Sequence[Mapping], top_k: int = 5) -> list:
        """What a test writes into data samples, and predictions, in pairs."""
        data, head = self.batch(inputs), self.model.cls_head
        with self.autocast():
            output = head_output(self.model, data['inputs'])
        tested = head.predict_by_feat(output, data['data_samples'])
        logits = per_sample(output, len(inputs))
        scores = unbatched(self.probabilities(logits))
        logits = unbatched({t: v.float().cpu() for t, v in logits.items()})
        predictions = []
        for number, sample in enumerate(inputs):
            info = sample['data_samples']
            prediction = Prediction(
                source=info.source,
                start=info.start,
                end=info.end,
                ranked=rank(scores[number], self.class_names, top_k),
                logits={t: v.numpy() for t, v in logits[number].items()},
                views=info.views,
                left_out=self.left_out(sample),
                multi_label=head.multi_class,
                about=self.about,
            )
            predictions.append(prediction)
        return list(zip(tested, predictions, strict=True))

    def postprocess(
        self,
        preds: list,
        visualization: list,
        return_datasamples: bool = False,
    ) -> dict:
        """Records of JSON, or data samples if requested."""
        found = [
            tested if return_datasamples else prediction.as_record()
            for tested, prediction in preds
        ]
        return dict(predictions=found, visualization=visualization)

    def visualize(self, inputs: list, preds: list) -> list:
        """Nothing: the commands draw figures."""
        return []

    def _init_model(
        self, cfg: Config, weights: str, device: str = 'cpu'
    ) -> nn.Module:
        stored = open_checkpoint(weights)
        if not cfg:
            # The base class keeps this very object as `self.cfg`.
            cfg.update(stored_config(stored, weights)._cfg_dict)
        model = build_model(cfg, weights)
        load_weights(model, stored, name=weights)
        if model.cls_head.average_clips is None:
            raise ValueError(
                'the head of the config does not average the views; set '
                "model.cls_head.average_clips='prob'"
            )
        names = names_of_model(model.cls_head, stored, dataset_of(cfg))
        self.class_names, self.about = names, cfg.get('about')
        # What `save_pretrained` reads.
        model.cfg = cfg
        model.dataset_meta = dict(classes=names.get('label', names))
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> InferencePipeline:
        with building(cfg):
            return InferencePipeline(dataset_of(cfg)['pipeline'])

    def _init_visualizer(self, cfg: Config) -> None:
        """None: a config's visualizer writes into its work_dir."""

    def _inputs_to_list(self, inputs: Any) -> list:
        return list(inputs) if isinstance(inputs, list | tuple) else [inputs]


def trained_weights(source: str) -> str:
    """The best checkpoint in a work folder, else its last; or the source."""
    folder = Path(source)
    if not folder.is_dir() or any((folder / n).exists() for n in IN_FOLDER):
        return source
    best = sorted(folder.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    return str(best[-1]) if best else last_whole_checkpoint(folder) or source


def head_output(
    model: nn.Module, inputs: Any, experts: Sequence[str] | None = None
) -> Any:
    """The head's output for all views, as MMAction2 computes it in a test.

    Args:
        model: A recognizer.
        inputs: What its data preprocessor gives.
        experts: Which experts run; None for all.

    Returns:
        (batch * views, num_classes), or such a tensor for each task.
    """
    chosen = {} if experts is None else dict(experts=experts)
    feats, more = model.extract_feat(inputs, test_mode=True, **chosen)
    return model.cls_head(feats, **more)
