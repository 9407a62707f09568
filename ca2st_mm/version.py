# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The version of ca2st_mm, the only place where it is written."""

__version__ = '0.1.0'
