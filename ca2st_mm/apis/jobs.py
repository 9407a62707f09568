# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From what a user names to what is predicted."""

from collections.abc import Iterator, Sequence

from ca2st_mm.datasets.faults import MediaError

from .inputs import local_files
from .many import Failure, Job
from .windows import Windows


class Jobs:
    """Jobs of several files, one file after the other.

    Attributes:
        failures: Sources without jobs, and why.
    """

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self._of_files: list[list[Job] | Windows] = []

    def add(self, jobs: list[Job] | Windows) -> None:
        """Add the jobs of a file."""
        self._of_files.append(jobs)

    def __len__(self) -> int:
        return sum(map(len, self._of_files))

    def __iter__(self) -> Iterator[Job]:
        for jobs in self._of_files:
            yield from jobs


def find_jobs(
    names: Sequence[str],
    folder: str,
    window: float | None = None,
    stride: float | None = None,
) -> Jobs:
    """Find the files that sources stand for, and cut them into windows.

    Args:
        names: Files, folders, and addresses of media files.
        folder: Where fetched files go.
        window: Seconds of a window; None for one answer a file.
        stride: Seconds from the start of one window to that of the next;
            None for those of a window.

    Raises:
        ValueError: If a length is not positive.
    """
    found = Jobs()
    for file in local_files(names, folder):
        if isinstance(file, Failure):
            found.failures.append(file)
            continue
        name, path = file
        if window is None:
            shown = dict(source=name, start=None, end=None)
            found.add([Job(path, None, None, shown)])
            continue
        try:
            found.add(Windows(path, window, stride or window, name))
        except MediaError as error:
            found.failures.append(Failure(name, None, None, error.reason))
    return found
