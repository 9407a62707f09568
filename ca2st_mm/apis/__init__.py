# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Doors for users: publish weights."""

from .publishing import is_delta, publish

__all__ = ['is_delta', 'publish']
