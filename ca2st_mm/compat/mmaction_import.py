# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Workarounds that let MMAction2 1.2.0 be imported, in reasonable time."""

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

DRN = 'mmaction.models.localizers.drn'
VINDLU = 'mmaction.models.multimodal.vindlu'
VINDLU_MODELS = ('VindLUVQA', 'VindLURetrievalMC', 'VindLURetrieval')


def accept_newer_mmcv() -> None:
    """Let MMAction2 be imported next to an mmcv that is newer than itself.

    Fault: MMAction2 1.2.0 refuses mmcv >= 2.2.0 with an assertion, although
    it works with it; ``onedl-mmcv``, the maintained fork, is such a one.  It
    is imported while mmcv gives the newest version that it accepts.

    Raises:
        ImportError: If mmcv is missing or older than MMAction2 needs.
    """
    install = 'pip install mmcv-lite==2.1.0'
    try:
        import mmcv
    except ModuleNotFoundError as error:
        if error.name != 'mmcv':
            raise
        raise ImportError(f'mmcv is not installed; run: {install}') from error
    from mmengine.utils import digit_version

    version = mmcv.__version__
    if digit_version(version) < digit_version('2.0.0rc4'):
        raise ImportError(
            f'MMAction2 works with mmcv >= 2.0.0rc4, but mmcv {version} is '
            f'installed; run: pip uninstall -y mmcv && {install}'
        )
    try:
        mmcv.__version__ = min(version, '2.1.0', key=digit_version)
        import mmaction  # noqa: F401
    finally:
        mmcv.__version__ = version


class MissingDRN:
    """Stand-in for the localizer that the wheel of MMAction2 1.2.0 lacks.

    Raises:
        ImportError: Always; the class exists only to be imported.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'DRN cannot be built: the installed MMAction2 lacks the module '
            f'{DRN}; install MMAction2 from its source repository to use it.'
        )


def supply_missing_drn() -> None:
    """Let ``import mmaction.models`` succeed.

    Fault: the PyPI wheel of MMAction2 1.2.0 lacks the folder
    ``mmaction/models/localizers/drn`` that its own ``__init__`` imports
    (MMAction2 issues 2714 and 2721).
    """
    if _source(DRN).is_dir():
        return
    for name in (DRN, f'{DRN}.drn'):
        module = types.ModuleType(name, 'Placeholder of ca2st_mm.compat.')
        module.DRN = MissingDRN
        sys.modules.setdefault(name, module)


def _source(module: str) -> Path:
    """Where a package lies, without importing it or its parents."""
    top, *rest = module.split('.')
    spec = importlib.util.find_spec(top)
    folders = spec.submodule_search_locations if spec else None
    return Path((folders or ['/'])[0], *rest)


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
        try:
            if _lacks_what_vindlu_imports():
                raise ImportError('timm or names of transformers are absent')
            with warnings.catch_warnings():
                # It imports a module that timm has moved.
                warnings.simplefilter('ignore', FutureWarning)
                self.loader.exec_module(module)
        except ImportError as error:
            from mmaction.registry import MODELS
            from mmaction.utils import dependency

            logger.debug('VindLU of MMAction2 is left out: %s', error)
            module.__all__ = []
            absent = [n for n in VINDLU_MODELS if MODELS.get(n) is None]
            dependency.register_multimodal_placeholder(absent, MODELS)


def _lacks_what_vindlu_imports() -> bool:
    """Whether it would fail, seen without importing timm or transformers."""
    needs = ''.join(p.read_text() for p in _source(VINDLU).glob('*.py'))
    if 'from timm' in needs and not importlib.util.find_spec('timm'):
        return True
    moved = 'apply_chunking_to_forward'
    there = _source('transformers') / 'modeling_utils.py'
    return moved in needs and moved not in there.read_text()


def survive_broken_vindlu() -> None:
    """Let ``import mmaction.models`` succeed with transformers installed.

    Fault: as soon as any transformers >= 4.28 is installed, MMAction2 1.2.0
    imports its VindLU models, which need timm and names that later
    transformers dropped; a missing one ends the import of all models.
    """
    if not any(isinstance(f, VindLUFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, VindLUFinder())


def import_transformers_late() -> None:
    """Import transformers when its optimizer is built, not at every start.

    Fault: MMEngine 0.10.7 imports ``transformers.Adafactor`` to register it,
    and with it the trainer of transformers, peft and the compiler of torch:
    a third of the time that every command needs to start.
    """
    builder = 'mmengine.optim.optimizer.builder'
    if 'transformers' in sys.modules or builder in sys.modules:
        return
    if importlib.util.find_spec('transformers') is None:
        return
    sys.modules['transformers'] = None  # makes Python raise ImportError
    try:
        from mmengine.registry import OPTIMIZERS

        importlib.import_module(builder)
    finally:
        del sys.modules['transformers']

    def adafactor(*args: Any, **kwargs: Any) -> Any:
        from transformers import Adafactor

        return Adafactor(*args, **kwargs)

    OPTIMIZERS.register_module(name='Adafactor', module=adafactor)
