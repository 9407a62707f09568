# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Workarounds for what breaks while a model runs."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _wrap(owner: Any, name: str) -> Callable:
    """Put the decorated function, which is given the original, in its place.

    Once: a second time changes nothing.
    """
    original = getattr(owner, name)

    def put(around: Callable) -> None:
        if getattr(original, 'patched_by', None) == 'ca2st_mm':
            return

        @functools.wraps(original)
        def call(*args, **kwargs):
            return around(original, *args, **kwargs)

        call.patched_by = 'ca2st_mm'
        setattr(owner, name, call)

    return put


def silence_known_warnings() -> None:
    """Keep harmless notes of the packages below us off the screen.

    Fault: mmcv-lite warns at every import that it has no compiled
    ``MultiScaleDeformableAttention``, which nothing here uses; MMAction2's
    VindLU imports timm by a path that timm calls deprecated; from Python
    3.12 on, strings of MMAction2 1.2.0 and mmpretrain 1.2.0 have escape
    sequences that Python warns of when it first compiles them.
    """
    known = (
        r'Fail to import ``MultiScaleDeformableAttention``',
        r'Importing from timm\.models\.layers is deprecated',
    )
    for message in known:
        # `filterwarnings` moves an equal filter to the front instead of
        # adding a second one, so repeating this is free.
        warnings.filterwarnings('ignore', message=message)
    # The "module" of a warning of the compiler is the path of the file.
    files = r'.*[\\/]site-packages[\\/](mmaction|mmpretrain)[\\/]'
    warnings.filterwarnings('ignore', '', SyntaxWarning, module=files)


def restore_numpy_names() -> None:
    """Give numpy back the three names that MMAction2 1.2.0 still uses.

    Fault: numpy 2 dropped ``np.Inf`` (pose transforms, frame extraction) and
    later ``np.in1d`` and ``np.trapz`` (retrieval and proposal metrics).
    Only names that are absent are added.
    """
    import numpy

    if not hasattr(numpy, 'Inf'):
        numpy.Inf = numpy.inf
    if not hasattr(numpy, 'in1d'):
        numpy.in1d = numpy.isin  # MMAction2's are one-dimensional
    if not hasattr(numpy, 'trapz'):
        numpy.trapz = numpy.trapezoid


def balance_wrapped_datasets() -> None:
    """Let ``ClassBalancedDataset`` wrap repeated and joined data sets.

    Fault: ``RepeatDataset`` and ``ConcatDataset`` of MMEngine 0.10.7 do not
    hand on ``get_cat_ids``, which ``ClassBalancedDataset`` asks them for.
    """
    from mmengine.dataset import ConcatDataset, RepeatDataset

    def of_repeated(self, idx: int) -> list:
        """Classes of a sample of the repeated data set."""
        return self.dataset.get_cat_ids(self._get_ori_dataset_idx(idx))

    def of_joined(self, idx: int) -> list:
        """Classes of a sample of the joined data sets."""
        dataset, sample = self._get_ori_dataset_idx(idx)
        return self.datasets[dataset].get_cat_ids(sample)

    for kind, method in (
        (RepeatDataset, of_repeated),
        (ConcatDataset, of_joined),
    ):
        if not hasattr(kind, 'get_cat_ids'):
            kind.get_cat_ids = method


def find_our_configs() -> None:
    """Let ``_base_ = 'ca2st_mm::toy/ca2st_small.py'`` name a config of ours.

    Fault: MMEngine 0.10.7 takes this form for OpenMMLab's own packages alone,
    and for none whose distribution has another name or is a checkout.
    """
    from mmengine.config import Config

    package = Path(__file__).resolve().parents[1]
    is_checkout = (package.parent / 'model-index.yml').is_file()
    root = package.parent if is_checkout else package / '.mim'

    @_wrap(Config, '_get_cfg_path')
    def _get_cfg_path(original, cfg_path, filename):
        owner, _, name = cfg_path.partition('::')
        if name and owner == package.name:
            return str(root / 'configs' / name), None
        return original(cfg_path, filename)


def accept_bfloat16_scores() -> None:
    """Let MMAction2's heads and metrics have bfloat16 scores.

    Fault: ``BaseHead.loss_by_feat`` and ``AccMetric`` of MMAction2 1.2.0 hand
    the scores to numpy, which has no bfloat16, so that training or validation
    under autocast stops with ``Got unsupported ScalarType BFloat16``.  Scores
    of any other type pass untouched; a fixed head gets the same numbers in
    float32.
    """
    import torch
    from mmaction.models.heads.base import BaseHead

    def widen(original, self, cls_scores, *args, **kwargs):
        if getattr(cls_scores, 'dtype', None) == torch.bfloat16:
            cls_scores = cls_scores.float()
        return original(self, cls_scores, *args, **kwargs)

    for name in ('loss_by_feat', 'predict_by_feat'):
        _wrap(BaseHead, name)(widen)


def accept_lists_of_topk() -> None:
    """Let MMAction2's heads take ``topk`` as the list that JSON knows.

    Fault: ``BaseHead`` of MMAction2 1.2.0 asserts a tuple, so that a config
    which has been a JSON file builds no head.
    """
    from mmaction.models.heads.base import BaseHead

    @_wrap(BaseHead, '__init__')
    def init(original, self, *args, **kwargs):
        if isinstance(kwargs.get('topk'), list):
            kwargs['topk'] = tuple(kwargs['topk'])
        original(self, *args, **kwargs)


def distribute_on_cpu() -> None:
    """Let several processes train on a machine without an accelerator.

    Fault: MMEngine 0.10.7 calls ``torch.cuda.set_device`` for every
    distributed run, which raises where there is no GPU driver, even with the
    backend gloo.  Where CUDA is available nothing changes.
    """
    import torch
    from mmengine.dist import utils

    @_wrap(utils, '_init_dist_pytorch')
    def init_dist_pytorch(original, *args, **kwargs):
        if torch.cuda.is_available():
            return original(*args, **kwargs)
        set_device = torch.cuda.set_device
        torch.cuda.set_device = lambda device: None
        try:
            return original(*args, **kwargs)
        finally:
            torch.cuda.set_device = set_device


def take_shared_parameters_once() -> None:
    """Let parameter-wise options work on models with shared parameters.

    Fault: ``DefaultOptimWrapperConstructor`` of MMEngine 0.10.7 puts a
    parameter that two modules share into two groups as soon as
    ``paramwise_cfg`` has an entry, which PyTorch refuses with ``some
    parameters appear in more than one parameter group``.  Its own option
    ``bypass_duplicate`` is switched on where there is such a parameter and
    the config does not say otherwise.
    """
    from mmengine.optim import DefaultOptimWrapperConstructor

    @_wrap(DefaultOptimWrapperConstructor, '__call__')
    def call(original, self, model):
        names = [n for n, _ in model.named_parameters(remove_duplicate=False)]
        shared = len(names) > len(list(model.parameters()))
        if self.paramwise_cfg and shared:
            self.paramwise_cfg = {
                'bypass_duplicate': True,
                **self.paramwise_cfg,
            }
        return original(self, model)


def gather_metrics_by_messages() -> None:
    """Let metrics of machines that share no disk meet.

    Fault: MMEngine's metrics leave their results in a folder below the one
    that rank 0 was started in, and the first validation fails where another
    machine cannot write there.  A ``collect_dir`` of the config stays.
    """
    from mmengine.evaluator import metric

    @_wrap(metric, 'collect_results')
    def collect(original, results, size, device='cpu', tmpdir=None):
        if tmpdir is None and device == 'cpu':
            device = 'gpu'  # gathers objects, through gloo on a CPU
        return original(results, size, device, tmpdir)
