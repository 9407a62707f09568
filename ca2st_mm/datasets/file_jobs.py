# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Many files made by several workers, so that one can stop and go on."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

from .faults import SampleFault


class Done(NamedTuple):
    """A job that is over.

    Attributes:
        target: The file.
        fault: Why it was not made; empty if it was.
        skipped: Whether it had been there before.
    """

    target: str
    fault: str = ''
    skipped: bool = False


def make_files(
    targets: Sequence[str], make: Callable[[str], None], num_workers: int
) -> Iterator[Done]:
    """Make files that are not there yet.

    ``make`` must leave either the finished file or nothing
    (``transcode.finished_or_nothing``), so a file that exists is finished.

    Args:
        targets: The files.
        make: Makes one; its ``SampleFault`` or ``OSError`` is reported.
        num_workers: Threads; FFmpeg works outside of Python's lock.

    Yields:
        One report a file, in the order of completion.
    """

    def job(target: str) -> Done:
        if os.path.exists(target):
            return Done(target, skipped=True)
        try:
            make(target)
        except (SampleFault, OSError) as error:
            return Done(target, str(error))
        return Done(target)

    with ThreadPoolExecutor(num_workers) as pool:
        jobs = [pool.submit(job, target) for target in targets]
        try:
            for finished in as_completed(jobs):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)
