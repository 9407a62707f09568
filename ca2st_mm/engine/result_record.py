# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Numbers never travel alone: a test writes what they depend on."""

import hashlib
import math
import os.path as osp
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import exists, get
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ca2st_mm.registry import HOOKS
from ca2st_mm.structures import as_streams
from ca2st_mm.utils.files import sha256_of
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.utils.text_files import write_record
from ca2st_mm.version import __version__

from .checkpointing import unwrapped

FILE = 'results.json'
PACKAGES = (
    'torch',
    'torchaudio',
    'torchvision',
    'mmengine',
    'mmcv-lite',
    'mmaction2',
    'numpy',
    'av',
    'decord',
    'librosa',
    'scikit-learn',
)
# Parts of the names of transforms that read media.
READERS = ('Open', 'Init', 'Decode', 'LoadAudio')
UNKNOWN = 'unknown'


@HOOKS.register_module()
class ResultRecordHook(Hook):
    """Write ``results.json`` next to the log of every test.

    With the numbers it holds the hash of the annotation file and the number of
    its clips, the views of a clip, the transforms that read and prepare it,
    the precision, the hash of all weights and of the checkpoint they came
    from, and versions.  ``tools/analysis/diff_results.py`` compares two.

    Example:
        >>> default_hooks = dict(result_record=dict(type='ResultRecordHook'))
    """

    # After the LoggerHook, so that a failure here cannot hide the numbers.
    priority = 'LOWEST'

    def before_test(self, runner: Runner) -> None:
        """Forget the views of an earlier test."""
        self.views: set[int] = set()

    def before_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Count the views that really reach the model."""
        inputs = data_batch['inputs']
        if isinstance(inputs, dict):
            streams = as_streams(inputs)
            first = next(iter(streams.values()))
            inputs = streams.get('imgs', first).values
        self.views |= {len(sample) for sample in inputs}

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Write the file, on the main process only."""
        if not is_main_process():
            return
        # A run that has trained on does not test what it has loaded.
        checkpoint = None if runner.iter else runner._load_from
        known = bool(checkpoint) and osp.isfile(checkpoint)
        model = unwrapped(runner.model)
        parameters = list(model.parameters())
        device = parameters[0].device.type if parameters else 'cpu'
        lower = str(torch.get_autocast_dtype(device))
        record = dict(
            metrics={k: _number(v) for k, v in (metrics or {}).items()},
            config=osp.basename(runner.cfg.filename or UNKNOWN),
            data=dict(
                _describe_data(runner.test_dataloader.dataset),
                views=sorted(self.views),
            ),
            weights=dict(
                sha256=sha256_of_tensors(model.state_dict()),
                checkpoint=checkpoint or UNKNOWN,
                checkpoint_sha256=sha256_of(checkpoint) if known else UNKNOWN,
            ),
            precision=dict(
                parameters=sorted({str(p.dtype) for p in parameters}),
                autocast=lower if runner.test_loop.fp16 else 'off',
                float32_matmul=torch.get_float32_matmul_precision(),
            ),
            environment=_describe_environment(),
        )
        path = Path(runner.log_dir) / FILE
        write_record(path, record)
        runner.logger.info(f'what these numbers depend on: {path}')


def _describe_data(dataset: Any) -> dict[str, Any]:
    """Annotation file and transforms; the size of a dataset not MMEngine's."""
    ann_file = getattr(dataset, 'ann_file', '')
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    digest = UNKNOWN
    if ann_file and exists(ann_file):
        digest = hashlib.sha256(get(ann_file)).hexdigest()
    return dict(
        manifest=ann_file or UNKNOWN,
        manifest_sha256=digest,
        clips=len(dataset),
        decoder=[
            repr(step)
            for step in steps
            if any(part in type(step).__name__ for part in READERS)
        ],
        pipeline=[repr(step) for step in steps],
    )


def _describe_environment() -> dict[str, str]:
    """Versions and device."""
    versions = dict(ca2st_mm=__version__, python=platform.python_version())
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = 'not installed'
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else platform.machine()
    return dict(versions, device=device)


def _number(value: Any) -> Any:
    """A JSON value; what is no number is None, as JSON knows no NaN."""
    value = value.item() if hasattr(value, 'item') else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
