# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a command line reports in one sentence."""

from collections.abc import Collection


class UserError(Exception):
    """A user can repair it; the message is all that they need to know."""


class UsageError(UserError, ValueError):
    """A flag, an option of the config or a folder does not fit; says why."""


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ``UsageError`` unless an option has one of its values."""
    if value not in choices:
        raise UsageError(
            f'{name} must be one of {sorted(choices)}, got {value!r}'
        )
