# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a command line reports in one sentence."""


class UserError(Exception):
    """A user can repair it; the message is all that they need to know."""


class UsageError(UserError, ValueError):
    """A flag, an option of the config or a folder does not fit; says why."""
