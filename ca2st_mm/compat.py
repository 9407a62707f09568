# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every workaround for a fault of the packages below us.

One small function per fault; its docstring names the fault.  Each leaves
things alone where upstream is mended, none edits an installed file, and all
of them may run any number of times.  This module imports nothing of ours, so
that it can run before anything else.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import logging
import pickle
import sys
import types
import warnings
from typing import Any, List, Optional, Sequence, Tuple

logger = logging.getLogger(__name__)

DRN_MODULES = (
    'mmaction.models.localizers.drn',
    'mmaction.models.localizers.drn.drn',
)
VINDLU = 'mmaction.models.multimodal.vindlu'
VINDLU_MODELS = ('VindLUVQA', 'VindLURetrievalMC', 'VindLURetrieval')
MMCV_RANGE = ('2.0.0rc4', '2.2.0')


def check_mmcv_range() -> None:
    """Say which mmcv to install before MMAction2 trips over it.

    Fault: MMAction2 1.2.0 refuses mmcv >= 2.2.0 with a bare assertion that
    does not mention ``mmcv-lite``.

    Raises:
        ImportError: If mmcv is missing or outside the range that MMAction2
            accepts, and this MMAction2 is one that still checks so.
    """
    cure = 'run: pip uninstall -y mmcv && pip install mmcv-lite==2.1.0'
    try:
        import mmcv
    except ModuleNotFoundError as error:
        if error.name != 'mmcv':
            raise
        raise ImportError(f'mmcv is not installed; {cure}') from error
    from mmengine.utils import digit_version

    low, high = (digit_version(version) for version in MMCV_RANGE)
    if low <= digit_version(mmcv.__version__) < high:
        return
    try:
        import mmaction  # noqa: F401
    except AssertionError as error:
        raise ImportError(
            f'MMAction2 works with mmcv >= {MMCV_RANGE[0]}, '
            f'< {MMCV_RANGE[1]}, but mmcv {mmcv.__version__} is '
            f'installed; {cure}'
        ) from error


def silence_known_warnings() -> None:
    """Keep harmless notes of the packages below us off the screen.

    Fault: mmcv-lite warns at every import that it has no compiled
    ``MultiScaleDeformableAttention``, which nothing here uses.
    """
    known = (r'Fail to import ``MultiScaleDeformableAttention``',)
    for message in known:
        # `filterwarnings` moves an equal filter to the front instead of
        # adding a second one, so repeating this is free.
        warnings.filterwarnings('ignore', message=message)


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
        numpy.in1d = _in1d
    if not hasattr(numpy, 'trapz'):
        numpy.trapz = numpy.trapezoid


def _in1d(ar1, ar2, assume_unique=False, invert=False):
    """``numpy.isin`` of the flattened first argument."""
    import numpy

    return numpy.isin(
        numpy.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert
    )


class MissingDRNFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Supply the two modules of DRN, and no other, when they are absent.

    It stands at the end of ``sys.meta_path``: an installed DRN is found by
    the ordinary finders first, and this one is never asked.
    """

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]] = None,
        target: Optional[types.ModuleType] = None,
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Return a spec for the modules of DRN, None for everything else."""
        if fullname not in DRN_MODULES:
            return None
        logger.debug('%s is absent; a placeholder takes its place.', fullname)
        return importlib.machinery.ModuleSpec(
            fullname, self, is_package=fullname == DRN_MODULES[0]
        )

    def exec_module(self, module: types.ModuleType) -> None:
        """Put the placeholder class into the module."""
        module.__doc__ = 'Placeholder made by ca2st_mm.compat.'
        module.DRN = MissingDRN


class MissingDRN:
    """Stand-in for the localizer that the wheel of MMAction2 1.2.0 lacks.

    Raises:
        ImportError: Always; the class exists only to be imported.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'DRN cannot be built: the installed MMAction2 lacks the module '
            f'{DRN_MODULES[0]}; install MMAction2 from its source '
            'repository to use it.'
        )


def supply_missing_drn() -> None:
    """Let ``import mmaction.models`` succeed.

    Fault: the PyPI wheel of MMAction2 1.2.0 lacks the folder
    ``mmaction/models/localizers/drn`` that its own ``__init__`` imports
    (MMAction2 issues 2714 and 2721).
    """
    if not any(isinstance(f, MissingDRNFinder) for f in sys.meta_path):
        sys.meta_path.append(MissingDRNFinder())


class VindLUFinder(importlib.abc.MetaPathFinder):
    """Find VindLU as usual, but load it with :class:`VindLULoader`."""

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]] = None,
        target: Optional[types.ModuleType] = None,
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Return a spec for the package VindLU, None for everything else."""
        if fullname != VINDLU:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = VindLULoader(spec.loader)
        return spec


class VindLULoader(importlib.abc.Loader):
    """Fall back to MMAction2's own placeholders if VindLU cannot load.

    Args:
        loader: The ordinary loader of the package.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(
        self, spec: importlib.machinery.ModuleSpec
    ) -> Optional[types.ModuleType]:
        """Leave it to the ordinary loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the package, or register placeholders for its models."""
        try:
            self.loader.exec_module(module)
        except ImportError as error:
            from mmaction.registry import MODELS
            from mmaction.utils import dependency

            logger.debug('VindLU of MMAction2 is left out: %s', error)
            module.__all__ = []
            absent = [n for n in VINDLU_MODELS if MODELS.get(n) is None]
            dependency.register_multimodal_placeholder(absent, MODELS)


def survive_broken_vindlu() -> None:
    """Let ``import mmaction.models`` succeed beside transformers.

    Fault: as soon as any transformers >= 4.28 is installed, MMAction2 1.2.0
    imports its VindLU models, which need timm and names that later
    transformers dropped; a missing one ends the import of all models.
    """
    if not any(isinstance(f, VindLUFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, VindLUFinder())


def history_buffer_getattr(owner: Any, name: str) -> Any:
    """A ``getattr`` for unpickling that reaches HistoryBuffer's methods only.

    Args:
        owner: The object named in the pickle.
        name: The attribute asked for.

    Raises:
        pickle.UnpicklingError: If anything else is asked for.
    """
    from mmengine.logging import HistoryBuffer

    public = isinstance(name, str) and not name.startswith('_')
    if owner is HistoryBuffer and public:
        method = vars(HistoryBuffer).get(name)
        if inspect.isfunction(method):
            return method
    raise pickle.UnpicklingError(
        f'The checkpoint asks for attribute {name!r} of {owner!r}, which no '
        'MMEngine checkpoint needs; it was not loaded.'
    )


def _checkpoint_globals() -> List[Tuple[Any, str]]:
    """Pairs of (object, name in the pickle) that MMEngine checkpoints use."""
    import numpy
    from mmengine.logging import HistoryBuffer

    core = getattr(numpy, '_core', None) or numpy.core
    pairs: List[Tuple[Any, str]] = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (history_buffer_getattr, 'builtins.getattr'),
        # A pickle of protocol 2 uses the Python 2 name of the module.
        (history_buffer_getattr, '__builtin__.getattr'),
        (numpy.ndarray, 'numpy.ndarray'),
        (numpy.dtype, 'numpy.dtype'),
    ]
    for package in ('numpy._core', 'numpy.core'):
        for name in ('_reconstruct', 'scalar'):
            found = getattr(core.multiarray, name)
            pairs.append((found, f'{package}.multiarray.{name}'))
    # The loader also checks the class of each dtype that it rebuilds.
    for code in '?bhilqBHILQefd':
        dtype_class = type(numpy.dtype(code))
        name = f'{dtype_class.__module__}.{dtype_class.__qualname__}'
        pairs.append((dtype_class, name))
    return pairs


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read MMEngine's checkpoints in its safe mode.

    Fault: torch >= 2.6 loads with ``weights_only=True`` by default, and
    MMEngine 0.10.7 stores ``HistoryBuffer`` objects and numpy scalars in its
    checkpoints, so that resuming fails with ``Unsupported global``.  The
    safe mode stays on: only the classes named here are added to it.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return
    torch.serialization.add_safe_globals(_checkpoint_globals())


def accept_bfloat16_scores() -> None:
    """Let MMAction2's heads compute their loss from bfloat16 scores.

    Fault: ``BaseHead.loss_by_feat`` of MMAction2 1.2.0 hands the scores to
    numpy, which has no bfloat16, so that training under autocast stops with
    ``Got unsupported ScalarType BFloat16``.  Scores of any other type pass
    untouched; a mended head gets the same numbers in float32.
    """
    import torch
    from mmaction.models.heads.base import BaseHead

    original = BaseHead.loss_by_feat
    if getattr(original, 'mended_by', None) == 'ca2st_mm':
        return

    @functools.wraps(original)
    def loss_by_feat(self, cls_scores, *args, **kwargs):
        if getattr(cls_scores, 'dtype', None) == torch.bfloat16:
            cls_scores = cls_scores.float()
        return original(self, cls_scores, *args, **kwargs)

    loss_by_feat.mended_by = 'ca2st_mm'
    BaseHead.loss_by_feat = loss_by_feat


def distribute_on_cpu() -> None:
    """Let several processes train on a machine without an accelerator.

    Fault: MMEngine 0.10.7 calls ``torch.cuda.set_device`` for every
    distributed run, which raises where there is no GPU driver, even with the
    backend gloo.  Where CUDA is available nothing changes.
    """
    import torch
    from mmengine.dist import utils

    original = utils._init_dist_pytorch
    if getattr(original, 'mended_by', None) == 'ca2st_mm':
        return

    @functools.wraps(original)
    def init_dist_pytorch(*args, **kwargs):
        if torch.cuda.is_available():
            return original(*args, **kwargs)
        set_device = torch.cuda.set_device
        torch.cuda.set_device = lambda device: None
        try:
            return original(*args, **kwargs)
        finally:
            torch.cuda.set_device = set_device

    init_dist_pytorch.mended_by = 'ca2st_mm'
    utils._init_dist_pytorch = init_dist_pytorch


def load_urls_safely() -> None:
    """Let MMEngine read what it downloads in torch's safe mode.

    Fault: MMEngine 0.10.7 downloads with ``torch.hub``'s helper, whose
    default is ``weights_only=False``: code in the file would run.
    """
    from mmengine.runner import checkpoint

    if not isinstance(checkpoint.load_url, functools.partial):
        checkpoint.load_url = functools.partial(
            checkpoint.load_url, weights_only=True
        )


CURES = (
    silence_known_warnings,
    restore_numpy_names,
    check_mmcv_range,
    supply_missing_drn,
    survive_broken_vindlu,
    allow_mmengine_checkpoints,
    load_urls_safely,
    distribute_on_cpu,
    accept_bfloat16_scores,
)


def apply() -> None:
    """Run every cure, in order; repeating it changes nothing."""
    for cure in CURES:
        cure()
