# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The parts of an inferencer of MMEngine that a config describes."""

from collections.abc import Callable, Iterable
from typing import Any

from mmengine.config import Config
from mmengine.infer import BaseInferencer
from torch import nn

from ca2st_mm.checkpoints import load_weights, open_checkpoint

from .class_names import Names, names_of_model
from .models import build_model
from .samples import ViewPlan, dataset_of
from .stored_config import stored_config


class ConfigInferencer(BaseInferencer):
    """Builds model, class names and test pipeline; batches sources.

    Args:
        model: A config, or its file; None for the one in the checkpoint.
        weights: Path or address of a checkpoint.
        device: Where the model runs; None for the best there is.
        show_progress: Whether a call shows a progress bar.
    """

    model: nn.Module
    class_names: Names
    preprocess_kwargs: set = {'start', 'end'}
    postprocess_kwargs: set = {'top_k'}

    def __init__(
        self,
        model: Config | str | None,
        weights: str,
        device: str | None = None,
        show_progress: bool = False,
    ) -> None:
        super().__init__(model, weights, device, 'mmaction', show_progress)

    def _init_model(
        self, cfg: Config, weights: str, device: str = 'cpu'
    ) -> nn.Module:
        stored = open_checkpoint(weights)
        meta = stored.get('meta') or {}
        if not cfg:
            # The base class keeps this very object as `self.cfg`.
            cfg.update(stored_config(stored, weights)._cfg_dict)
        model = build_model(cfg)
        load_weights(model, stored, name=weights)
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
        waiting = (self.pipeline(source, start, end) for source in inputs)
        return self._get_chunk_data(waiting, batch_size)

    def visualize(self, inputs: list, preds: list) -> list:
        """Nothing: pictures are made by the commands."""
        return []
