# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What can go wrong in the zoo; a message is one sentence with its cure."""


class ZooError(RuntimeError):
    """Weights cannot be had, kept or trusted; the message says the cure."""


class DownloadError(ZooError):
    """One address gave no usable file; the next one may."""
