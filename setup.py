# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Put configs and tools into the package, where ``mim`` looks for them.

The rest is in ``setup.cfg``.  OpenMMLab's installer runs
``mim train ca2st_mm CONFIG`` from ``ca2st_mm/.mim/{tools,configs}``.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_ITEMS = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """``build_py`` that adds the folder ``.mim``.

    A wheel gets copies; an editable install gets links, so that a changed
    config is seen at once.
    """

    def run(self):
        """Build the package, then add the folder."""
        super().run()
        if self.editable_mode:
            place, put = ROOT / 'ca2st_mm' / '.mim', link
        else:
            place, put = Path(self.build_lib) / 'ca2st_mm' / '.mim', copy
        place.mkdir(parents=True, exist_ok=True)
        for name in MIM_ITEMS:
            put(ROOT / name, place / name)


def link(source: Path, target: Path) -> None:
    """Link, or copy where the file system knows no links."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    try:
        target.symlink_to(Path('..', '..', source.name))
    except OSError:
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, without the leftovers of Python."""
    if source.is_file():
        shutil.copy2(source, target)
        return
    # A file that was deleted must not survive in a reused build folder.
    shutil.rmtree(target, ignore_errors=True)
    ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
    shutil.copytree(source, target, ignore=ignore)


def readme() -> str:
    """README.md, whose links would lead nowhere on a package index.

    They lead to the repository ``PROJECT_URL``, or without one they are text.
    """
    url = os.environ.get('PROJECT_URL')

    def replace(link: re.Match) -> str:
        image, text, target = link.groups()
        if not url:
            return '' if image else text
        kind = 'raw' if image else 'blob'
        return f'{image}[{text}]({url}/{kind}/HEAD/{target})'

    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    relative = r'(!?)\[([^]]*)\]\((?!https?:|#)([^)]*)\)'
    return re.sub(relative, replace, text)


setup(cmdclass={'build_py': BuildWithMim}, long_description=readme())
