# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The model that the flags of a tool name."""

import argparse

from ca2st_mm import Recognizer
from ca2st_mm.engine.launch import UsageError, read_config, usable_device


def load_named(args: argparse.Namespace) -> Recognizer:
    """Build the model of --model, or else of a config and a checkpoint.

    Args:
        args: Has ``model``, or ``config`` and ``checkpoint``; ``device``;
            ``precision`` and ``cfg_options`` if the tool has those flags.

    Raises:
        UsageError: If there is none, or the options do not fit it.
    """
    model, precision, options = (
        getattr(args, flag, None)
        for flag in ('model', 'precision', 'cfg_options')
    )
    device = args.device and usable_device(args.device)
    try:
        if model:
            return Recognizer.from_pretrained(model, device, precision)
        cfg = read_config(args.config, options)
        return Recognizer.from_config(cfg, args.checkpoint, device, precision)
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error
