# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the tools of this folder share: flags, and making many files."""
# What imports torch is imported by functions, so that --help is quick.

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common_flags import new_parser, whole
from tqdm import tqdm


def job_parser(description: str) -> argparse.ArgumentParser:
    """A parser with ``--workers``."""
    parser = new_parser(description)
    parser.add_argument(
        '--workers',
        type=whole,
        default=os.cpu_count() or 1,
        help='threads; one for each CPU if left out',
    )
    return parser


def find_targets(folder: str, extension: str, out: str) -> dict[str, str]:
    """Sources by targets of all videos below a folder, with the same tree.

    Links are followed, hidden files are left out; ``out`` may lie in the
    folder.

    Raises:
        UsageError: If there is no video, two differ in their extension alone,
            or one would be its own target.
    """
    from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS, files_below
    from ca2st_mm.utils.errors import UsageError

    pairs: dict[str, str] = {}
    root, made = Path(folder).resolve(), Path(out).resolve()
    for path in map(Path, files_below(folder, VIDEO_EXTENSIONS)):
        if root in made.parents and made in path.resolve().parents:
            continue  # of an earlier run
        target = Path(out, path.relative_to(folder)).with_suffix(extension)
        if target.resolve() == path.resolve():
            raise UsageError(
                f"'{path}' would be replaced by itself: name another folder "
                'to write to.'
            )
        if str(target) in pairs:
            raise UsageError(
                f"'{path}' and '{pairs[str(target)]}' would both become "
                f"'{target}': rename one."
            )
        pairs[str(target)] = str(path)
    if not pairs:
        raise UsageError(f"There is no video in '{folder}': check the path.")
    return pairs


def run(
    targets: Sequence[str], make: Callable[[str], None], workers: int
) -> set[str]:
    """Make files that are not there yet, and say how it went.

    What exists is finished: ``make`` makes a file or leaves nothing.

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
