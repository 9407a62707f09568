# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Install the wheel into an empty environment and use it there.

``make test-install`` does so three times: with the newest versions that the
requirements allow, with the lowest that they state, and without any extra.
Needs ``uv`` and a package registry; each environment takes about 6 GB while it
is used.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = 'optional,export,web,experts'
RANDOM_EXPERTS = [
    f'model.backbone.experts.{name}.init_cfg=None'
    for name in ('spatial', 'temporal', 'audio')
]
CHECKPOINT = 'work_dirs/toy/ca2st_toy/epoch_1.pth'
# Each is run in an empty folder with the commands of the environment.
WALK = (
    'python -W error::SyntaxWarning -c "import ca2st_mm"',
    'ca2st doctor',
    'ca2st data make-toy --train 24 --val 12 --test 12',
    'ca2st train configs/toy/ca2st_toy.py --cfg-options '
    'train_cfg.max_epochs=1 train_dataloader.batch_size=12 '
    + ' '.join(RANDOM_EXPERTS),
    f'ca2st test configs/toy/ca2st_toy.py {CHECKPOINT}',
    f'ca2st predict data/toy/videos/test_00000.mp4 --model {CHECKPOINT}',
    f'ca2st export configs/toy/ca2st_toy.py {CHECKPOINT} --check',
)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--resolution',
        choices=('highest', 'lowest-direct'),
        default='highest',
        help='the newest versions allowed, or the lowest stated',
    )
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--extras', default=EXTRAS, help='"" for none')
    parser.add_argument(
        '--without',
        action='append',
        default=[],
        metavar='PACKAGE',
        help='leave a requirement out, as one that another package replaces',
    )
    parser.add_argument(
        '--with',
        dest='also',
        action='append',
        default=[],
        metavar='REQUIREMENT',
        help='install this too',
    )
    parser.add_argument('--keep', help='make the environment here, keep it')
    return parser.parse_args()


def run(command: str, environ: dict[str, str], folder: Path) -> None:
    """Run one command and show how long it took.

    Raises:
        SystemExit: If it fails.
    """
    start = time.perf_counter()
    done = subprocess.run(
        ['bash', '-c', command],
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - start
    print(f'{seconds:6.1f} s  {command}', flush=True)
    if done.returncode:
        raise SystemExit(f'{done.stdout[-6000:]}\nfailed: {command}')


def main() -> None:
    """Build, install, use."""
    args = parse_args()
    uv = shutil.which('uv', path=f'{Path(sys.executable).parent}:{os.defpath}')
    uv = uv or shutil.which('uv') or sys.exit('pip install uv')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv = Path(args.keep or folder / 'venv').absolute()
        here = folder / 'empty'
        here.mkdir()
        environ = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        environ['VIRTUAL_ENV'] = str(venv)
        environ['PATH'] = f'{venv / "bin"}{os.pathsep}{environ["PATH"]}'
        environ['CUDA_VISIBLE_DEVICES'] = ''
        run(f'{uv} build -q -o {folder} {ROOT}', environ, here)
        (wheel,) = folder.glob('*.whl')
        override = folder / 'override.txt'
        absent = list(args.without)
        if (platform.system(), platform.machine()) != ('Linux', 'x86_64'):
            absent.append('decord')  # it has no other wheels
        override.write_text(
            '\n'.join(f'{name}; python_version < "3"' for name in absent)
        )
        flags = f'--resolution {args.resolution} --override {override}'
        # Else an old release without a wheel would be compiled.
        flags += ' --no-build' * (not args.also)
        also = ' '.join(f"'{requirement}'" for requirement in args.also)
        run(f'{uv} venv -q --clear -p {args.python} {venv}', environ, here)
        # Named directly, as the lowest versions of these alone are taken.
        extras = [name for name in args.extras.split(',') if name]
        lists = ' '.join(
            f'-r {ROOT}/requirements/{name}.txt' for name in ('core', *extras)
        )
        run(
            f"{uv} pip install -q {flags} '{wheel}[{args.extras}]' {lists} "
            f'{also}',
            environ,
            here,
        )
        # torch 2.6 refuses the free number of views of the export.
        exports = 'export' in extras and args.resolution == 'highest'
        for command in WALK if exports else WALK[:-1]:
            run(command, environ, here)


if __name__ == '__main__':
    main()
