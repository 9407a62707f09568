# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Workarounds that let MMAction2 1.2.0 be imported at all."""

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    install = 'pip install mmcv-lite==2.1.0'
    try:
        import mmcv
    except ModuleNotFoundError as error:
        if error.name != 'mmcv':
            raise
        raise ImportError(f'mmcv is not installed; run: {install}') from error
    from mmengine.utils import digit_version

    low, high = (digit_version(version) for version in MMCV_RANGE)
    if low <= digit_version(mmcv.__version__) < high:
        return
    try:
        import mmaction  # noqa: F401
    except AssertionError as error:
        raise ImportError(
            f'MMAction2 works with mmcv >= {MMCV_RANGE[0]}, '
            f'< {MMCV_RANGE[1]}, but mmcv {mmcv.__version__} is installed; '
            f'run: pip uninstall -y mmcv && {install}'
        ) from error


class MissingDRNFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Supply the two modules of DRN, and no other, when they are absent.

    It stands at the end of ``sys.meta_path``: an installed DRN is found by
    the ordinary finders first, and this one is never asked.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
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
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
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
    ) -> types.ModuleType | None:
        """Leave it to the ordinary loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the package, or register placeholders for its models."""
        if _lacks_timm(module):
            # The same end, without importing transformers on the way there.
            self._leave_out(module)
            return
        try:
            with warnings.catch_warnings():
                # It imports a module that timm has moved.
                warnings.simplefilter('ignore', FutureWarning)
                self.loader.exec_module(module)
        except ImportError as error:
            logger.debug('VindLU of MMAction2 is left out: %s', error)
            self._leave_out(module)

    @staticmethod
    def _leave_out(module: types.ModuleType) -> None:
        from mmaction.registry import MODELS
        from mmaction.utils import dependency

        module.__all__ = []
        absent = [n for n in VINDLU_MODELS if MODELS.get(n) is None]
        dependency.register_multimodal_placeholder(absent, MODELS)


def _lacks_timm(package: types.ModuleType) -> bool:
    """Whether a package imports timm, which is not there."""
    if importlib.util.find_spec('timm') is not None:
        return False
    return any(
        'from timm' in path.read_text()
        for folder in package.__path__
        for path in Path(folder).glob('*.py')
    )


def survive_broken_vindlu() -> None:
    """Let ``import mmaction.models`` succeed with transformers installed.

    Fault: as soon as any transformers >= 4.28 is installed, MMAction2 1.2.0
    imports its VindLU models, which need timm and names that later
    transformers dropped; a missing one ends the import of all models.
    """
    if not any(isinstance(f, VindLUFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, VindLUFinder())
