# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a command line reports in one sentence."""


class UsageError(ValueError):
    """A flag, an option of the config or a folder does not fit; says why."""
