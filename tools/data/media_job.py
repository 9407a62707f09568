# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the tools that make many files share: bar, summary, exit code."""
# What imports torch is imported by functions, so that --help is quick.

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm


class JobError(ValueError):
    """A job that cannot start; says what is wrong and what to do."""


def add_common(parser) -> None:
    """The argument that all tools have."""
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='files made at once; default: one for each CPU',
    )


def find_targets(folder: str, extension: str, out: str) -> dict[str, str]:
    """Targets of all videos below a folder, with the same tree.

    Links are followed, hidden files are left out.

    Args:
        folder: Where the videos are.
        extension: Of the targets, with the dot.
        out: Where the targets go; may lie in ``folder``.

    Returns:
        Source by target.

    Raises:
        JobError: If there is no video, two differ in their extension alone,
            or one would be its own target.
    """
    from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS, files_below

    pairs: dict[str, str] = {}
    root, made = Path(folder).resolve(), Path(out).resolve()
    for path in map(Path, files_below(folder, VIDEO_EXTENSIONS)):
        if root in made.parents and made in path.resolve().parents:
            continue  # of an earlier run
        target = Path(out, path.relative_to(folder)).with_suffix(extension)
        if target.resolve() == path.resolve():
            raise JobError(
                f"'{path}' would be replaced by itself: name another folder "
                'to write to.'
            )
        if str(target) in pairs:
            raise JobError(
                f"'{path}' and '{pairs[str(target)]}' would both become "
                f"'{target}': rename one."
            )
        pairs[str(target)] = str(path)
    if not pairs:
        raise JobError(f"There is no video in '{folder}': check the path.")
    return pairs


def run(
    targets: list[str], make: Callable[[str], None], workers: int
) -> set[str]:
    """Make files that are not there yet, and say how it went.

    Args:
        targets: The files.
        make: Makes one, or leaves nothing
            (``utils.files.written_whole``): what exists is finished.
        workers: Threads.

    Returns:
        The targets that could not be made.
    """
    from ca2st_mm.datasets.faults import SampleFault

    waiting = [target for target in targets if not os.path.exists(target)]
    skipped, failed = len(targets) - len(waiting), set()
    with (
        ThreadPoolExecutor(workers) as pool,  # FFmpeg leaves Python's lock
        # The bar shows in a terminal only.
        tqdm(total=len(waiting), unit='file', disable=None) as bar,
    ):
        jobs = {pool.submit(make, target): target for target in waiting}
        try:
            for job in as_completed(jobs):
                try:
                    job.result()
                except (SampleFault, OSError) as fault:
                    failed.add(jobs[job])
                    tqdm.write(str(fault), file=sys.stderr)
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    made = len(waiting) - len(failed)
    print(f'{made} made, {skipped} there before, {len(failed)} failed')
    return failed
