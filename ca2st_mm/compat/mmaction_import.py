# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Workarounds that let MMAction2 1.2.0 be imported, in reasonable time."""

import importlib
import importlib.util
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

DRN = 'mmaction.models.localizers.drn'


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


def supply_missing_drn() -> None:
    """Let ``import mmaction.models`` succeed.

    Fault: the PyPI wheel of MMAction2 1.2.0 lacks the folder
    ``mmaction/models/localizers/drn`` that its own ``__init__`` imports
    (MMAction2 issues 2714 and 2721).  The model DRN is then unknown.
    """
    spec = importlib.util.find_spec('mmaction')
    folders = spec.submodule_search_locations if spec else ()
    if any(Path(f, 'models/localizers/drn').is_dir() for f in folders):
        return
    for name in (DRN, f'{DRN}.drn'):
        module = types.ModuleType(name, 'Placeholder of ca2st_mm.compat.')
        module.DRN = None
        sys.modules.setdefault(name, module)


def survive_broken_vindlu() -> None:
    """Let ``import mmaction.models`` succeed with transformers installed.

    Fault: as soon as any transformers >= 4.28 is installed, MMAction2 1.2.0
    imports its VindLU models, which need timm and names that transformers 5
    dropped; a missing one ends the import of all models.  MMAction2's own
    placeholders then take their place, as if transformers were absent.
    """
    from mmaction.utils import dependency

    if not dependency.WITH_MULTIMODAL:
        return
    try:
        if not version('transformers').startswith('4.'):
            raise ImportError  # to import it would take seconds
        for module, name in (
            ('timm.models.layers', 'DropPath'),
            ('transformers.modeling_utils', 'apply_chunking_to_forward'),
        ):
            getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        dependency.WITH_MULTIMODAL = False


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
