# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Filling a model from a checkpoint: everything fits, or one error says why.

Weights of every entry point pass through :func:`fitting_weights` for a whole
recognizer, or :func:`load_expert` for one expert.
"""

import re
from collections.abc import Collection, Mapping
from logging import WARNING
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ca2st_mm import zoo

from .conversion import Conversion, Layout
from .delta import FINGERPRINT, experts_in, frozen_parameters
from .files import CheckpointError, read_checkpoint, unwrap
from .layouts import OURS, detect_layout


def open_checkpoint(
    source: str | Path, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Read a checkpoint, fetched first if it is not on this machine.

    Args:
        source: A path of a file or of a folder that
            :func:`~ca2st_mm.apis.save_pretrained` wrote; ``NAME`` or
            ``zoo://NAME`` of the zoo; ``owner/name@revision`` or
            ``hf://owner/name@revision/file`` of the Hugging Face Hub;
            ``https://...``; or a URL of another scheme that MMEngine knows.
        map_location: Device, as for ``torch.load``.

    Returns:
        As :func:`~.files.read_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no name of the zoo, or cannot be read.
        ZooError: If it cannot be fetched.

    Example:
        >>> torch.save({'state_dict': {'a': torch.ones(1)}}, 'epoch_1.pth')
        >>> open_checkpoint('epoch_1.pth')
        {'state_dict': {'a': tensor([1.])}}
    """
    source = zoo.canonical(str(source))
    if zoo.is_known(source):
        source = zoo.fetch(source)
    elif '://' in source:
        return CheckpointLoader.load_checkpoint(source, map_location)
    return read_checkpoint(source, map_location)


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Any],
    strict: bool = True,
    name: str | None = None,
) -> None:
    """Fill a whole recognizer from a checkpoint; every tensor must fit.

    Args:
        model: What to fill.  Unchanged if the checkpoint is refused.
        source: As for :func:`open_checkpoint`, or what a checkpoint file
            holds.  Ours (whole or delta), that of the authors of CAST, CAVA
            and CA2ST, or a published expert with its classifier.
        strict: Whether a tensor that is missing, unexpected or of another
            shape is an error; else it is listed in the log.
        name: The checkpoint, for messages; ``source`` if it is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the checkpoint is of another model, or holds NaN
            or infinite values.
        ZooError: If it cannot be fetched.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> load_weights(model, {'weight': torch.ones(1, 2),
        ...                      'bias': torch.ones(1)})
    """
    if not isinstance(source, Mapping):
        name, source = name or str(source), open_checkpoint(source)
    weights = fitting_weights(model, source, name or 'state dict', strict)
    # A delta checkpoint is completed while it is loaded.
    model.load_state_dict(weights, strict=strict)
    for module in model.modules():
        if hasattr(module, 'is_init'):
            # A runner would load the experts' published weights on top.
            module.is_init = True


def fitting_weights(
    model: nn.Module,
    container: Mapping[str, Any],
    name: str,
    strict: bool = True,
) -> dict[str, Tensor]:
    """The weights in a checkpoint by the names of a model; the model stays.

    The arguments are those of :func:`load_weights`.  If not ``strict``, only
    tensors that fit are returned.

    Raises:
        CheckpointError: As for :func:`load_weights`; also if nothing fits.
    """
    refusal = f'{name!r} is not a checkpoint of this model'
    own, origins = model.state_dict(), {}
    try:
        weights = _by_own_names(unwrap(container), own)
        # MMAction2 calls its heads as we do.
        known = [key for key in weights if key in own]
        if all(key.startswith('cls_head.') for key in known):
            conversion, layout = _convert(weights)
            weights, origins = conversion.state_dict, conversion.origins
            if layout.is_expert:
                weights = {f'backbone.{k}': v for k, v in weights.items()}
                origins = {f'backbone.{k}': v for k, v in origins.items()}
                for key, value in conversion.head.items():
                    weights[f'cls_head.{key}'] = value
            account = conversion.account(with_head=layout.is_expert)
            said = '; '.join([f'{name}: read as {layout.name}', *account])
            print_log(said, logger='current')
        require_finite(weights, own)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f'{refusal}: {error.args[0]}') from error
    optional = set()
    for key, expert in experts_in(model).items():
        prefix = f'{key}.' if key else ''
        if prefix + FINGERPRINT in weights:  # a delta checkpoint
            frozen = (FINGERPRINT, *frozen_parameters(expert))
            optional.update(prefix + key for key in frozen)
    misfit, said = _misfit(weights, own, optional, origins)
    fitting = {k: v for k, v in weights.items() if k not in misfit}
    if misfit and (strict or not fitting):
        raise CheckpointError(f'{refusal}: {said}')
    if misfit:
        _, said = _misfit(weights, own, optional, origins, shown=None)
        print_log(
            f'{name} fills {len(fitting)} of {len(own)} tensors: {said}',
            logger='current',
            level=WARNING,
        )
    return fitting


def load_expert(expert: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Load a checkpoint of one expert strictly.

    Published weights of any known layout are converted; the log names the
    layout and what was left out.  Adapters may be missing, and the final norm
    of VideoMAE, which is published without.

    Args:
        expert: A ``TransformerExpert``.
        init_cfg: type 'Pretrained', ``checkpoint`` (as for
            :func:`open_checkpoint`) and optionally ``prefix``, such as
            'backbone.' or 'backbone.experts.spatial.', for a checkpoint of a
            recognizer, ours or of the authors; ``norm=False`` leaves the
            final norm as it is.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If ``init_cfg`` is of another type, or the keys and shapes
            are not those of this expert.
    """
    name = type(expert).__name__
    is_dict = isinstance(init_cfg, Mapping)
    if not is_dict or init_cfg.get('type') != 'Pretrained':
        raise ValueError(
            f"{name} takes init_cfg=dict(type='Pretrained', checkpoint=...), "
            f'got {init_cfg!r}; leave init_cfg out to train from scratch'
        )
    checkpoint = init_cfg['checkpoint']
    refusal = f'{checkpoint!r} is not a checkpoint of this {name}'
    own, parts = expert.state_dict(), expert.parts()
    fresh = {id(p) for p in parts['adapters'] + parts['norm']}
    may_lack = {k for k, p in expert.named_parameters() if id(p) in fresh}
    try:
        container = open_checkpoint(checkpoint)
        if 'cfg' in container and hasattr(expert, 'check_published_config'):
            expert.check_published_config(container['cfg'])
        conversion, layout = _convert(
            unwrap(container),
            init_cfg.get('prefix') or '',
            # The names of a model of another library are in no layout.
            OURS if expert.weights_model is None else None,
        )
        if layout.is_expert and layout.model != expert.weights_model:
            raise ValueError(f'it holds weights of {layout.name}')
        weights, origins = conversion.state_dict, conversion.origins
        norm = {key for key in weights if key.startswith('norm.')}
        if not init_cfg.get('norm', True):
            weights = {k: v for k, v in weights.items() if k not in norm}
        elif norm or layout.model in ('clip', 'ast'):
            may_lack = {k for k in may_lack if not k.startswith('norm.')}
        require_finite(weights, own)
        # Those of a trained recognizer have been fitted already.
        if layout.is_expert or _misfit(weights, own, may_lack, origins)[0]:
            expert.fit_state_dict(weights)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f'{refusal}: {error.args[0]}') from error
    misfit, said = _misfit(weights, own, may_lack, origins)
    if misfit:
        raise CheckpointError(
            f'{refusal}: {said}; check arch, input size and prefix; it was '
            f'read as {layout.name}'
        )
    expert.load_state_dict(weights, strict=False)
    lines = [
        f'{name}: loaded {len(weights)} tensors from {checkpoint}, read as '
        f'{layout.name}',
        f'{len(own) - len(weights)} start fresh (adapters, final norm)',
        *conversion.account(),
    ]
    print_log('; '.join(lines), logger='current')


def load_classifier(classifier: nn.Linear, checkpoint: str | Path) -> None:
    """Start a classifier from that of a published expert.

    Args:
        classifier: What to fill.
        checkpoint: As for :func:`open_checkpoint`.

    Raises:
        FileNotFoundError: If the file is not there.
        CheckpointError: If it has no classifier, or one of another shape.
    """
    weights = unwrap(open_checkpoint(checkpoint))
    try:
        published = _convert(weights)[0].head
        weights = {k: published[f'fc_cls.{k}'] for k in ('weight', 'bias')}
        classifier.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f'{str(checkpoint)!r} holds no classifier of '
            f'{classifier.out_features} classes that reads '
            f'{classifier.in_features} values: {error.args[0]}'
        ) from error


def _by_own_names(
    weights: dict[str, Tensor], own: Collection[str]
) -> dict[str, Tensor]:
    """Weights without what wrappers of parts of the model put into names."""

    def bare(key: str) -> str:
        return re.sub(r'(?<![^.])(module|model|_orig_mod)\.', '', key)

    named = {bare(key): key for key in own if key not in weights}
    found, origins = {}, {}
    for key, value in weights.items():
        name = key if key in own else named.get(bare(key), key)
        if (other := origins.setdefault(name, key)) != key:
            raise ValueError(
                f'both {other!r} and {key!r} would be {name!r}; save the '
                'one to load alone'
            )
        found[name] = value
    return found


def _convert(
    weights: dict[str, Tensor], prefix: str = '', layout: Layout | None = None
) -> tuple[Conversion, Layout]:
    """Convert what stands under a prefix to our names.

    The prefix is one of the names in the file or, for a checkpoint of a whole
    model by its authors, of our names of it.
    """
    prefix = prefix and prefix.rstrip('.') + '.'
    inside = _under(prefix, weights)
    layout = layout or detect_layout(inside or weights)
    conversion = layout.convert(inside or weights)
    whole = weights if inside else conversion.state_dict
    if not inside:
        conversion.state_dict = _under(prefix, whole)
        conversion.origins = _under(prefix, conversion.origins)
    if not conversion.state_dict:
        raise ValueError(
            f'no key begins with the prefix {prefix!r}, the first is '
            f'{min(weights)!r}'
        )
    outside = [key for key in whole if not key.startswith(prefix)]
    conversion.ignored |= dict.fromkeys(outside, f'outside of {prefix!r}')
    return conversion, layout


def _under(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under a prefix, by the names without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in named.items()
        if key.startswith(prefix)
    }


def require_finite(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor] | None = None
) -> None:
    """Raise ``ValueError`` if weights, or a model's own, are not finite."""
    own = own or {}
    for key, value in weights.items():
        # A large float64 overflows only where it is copied.
        if key in own and own[key].is_floating_point():
            if not value.is_floating_point() or value.is_sparse:
                kind = 'sparse' if value.is_sparse else value.dtype
                raise ValueError(
                    f'{key!r} is {kind}; the model has dense floating point '
                    'numbers there'
                )
            value = value.to(own[key].dtype)
        if not torch.isfinite(value).all():
            raise ValueError(f'{key!r} holds NaN or infinite values')


def _misfit(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    optional: Collection[str],
    origins: Mapping[str, tuple[str, ...]],
    shown: int | None = 3,
) -> tuple[set[str], str]:
    """Names of the tensors that do not fit a model, and so in words."""
    known, expected = {*weights, *optional}, {*own, *optional}
    shapes = {
        key: f', {tuple(value.shape)} instead of {tuple(own[key].shape)}'
        for key, value in weights.items()
        if key in own and value.shape != own[key].shape
    }
    misfit = {
        # Old versions of torch had no counters.
        'missing': [
            key
            for key in own
            if key not in known and not key.endswith('num_batches_tracked')
        ],
        'unexpected': [k for k in weights if k not in expected],
        'of another shape': list(shapes),
    }
    parts = []
    for what, keys in misfit.items():
        words = []
        for key in keys[:shown]:
            theirs = origins.get(key, (key,))[0]
            word = repr(key) if theirs == key else f'{key!r} ({theirs!r})'
            words.append(word + shapes.get(key, ''))
        more = ', ...' if len(keys) > len(words) else ''
        if keys:
            parts.append(f'{len(keys)} {what} ({", ".join(words)}{more})')
    return {key for keys in misfit.values() for key in keys}, ', '.join(parts)
