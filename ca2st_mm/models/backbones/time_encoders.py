# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Encoders of clock times, one for each input stream or shared."""

from collections.abc import Mapping

from mmengine.model import ModuleDict

from ..layers.grid_position import TimeEncoder


def build_time_encoders(
    cfgs: Mapping[str, dict | str], streams: set[str]
) -> tuple[ModuleDict, dict[str, str]]:
    """Build the encoders of clock times.

    Args:
        cfgs: For each input stream, ``dict(embed_dims=...)``, or the name of
            the stream whose encoder it shares.
        streams: All input streams.

    Returns:
        Encoders by stream that owns one, and the owner of each stream.

    Raises:
        ValueError: If a name or a type is unknown.
    """
    if unknown := set(cfgs) - streams:
        raise ValueError(
            f'time_encoders names {sorted(unknown)}, but the input streams '
            f'are {sorted(streams)}'
        )
    owner = {
        stream: cfg if isinstance(cfg, str) else stream
        for stream, cfg in cfgs.items()
    }
    encoders = ModuleDict()
    for stream, cfg in cfgs.items():
        if not isinstance(cfg, str):
            cfg = dict(cfg)
            kind = cfg.pop('type', 'TimeEncoder')
            if kind != 'TimeEncoder':
                raise ValueError(
                    f'type of the time encoder of {stream} must be '
                    f"'TimeEncoder', got {kind!r}"
                )
            encoders[stream] = TimeEncoder(**cfg)
    if dangling := set(owner.values()) - set(encoders):
        raise ValueError(
            f'time_encoders shares the encoder of {sorted(dangling)}, which '
            'has none of its own'
        )
    return encoders, owner
