# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Warnings that are seen whichever process gives them."""

import logging
import sys


def warn_from_any_rank(logger: logging.Logger, text: str) -> None:
    """Warn; on stderr where the logger would drop it.

    MMEngine shows only errors of ranks other than 0.

    Args:
        logger: That of the runner.
        text: The warning; says of which rank it is.
    """
    logger.warning(text)
    if all(h.level > logging.WARNING for h in logger.handlers):
        # In one piece, lines of other processes come between.
        sys.stderr.write(f'{text}\n')
        sys.stderr.flush()
