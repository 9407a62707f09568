# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which media files lie below a folder, found by the names lists use."""

import os.path as osp
from collections.abc import Sequence
from pathlib import PurePath

from ca2st_mm.utils.text_files import ListFileError

from ..containers import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS, files_below


class MediaIndex:
    """Media files below a folder, each looked up once.

    A name matches a file if it is the end of its path, whole folders at a
    time, with or without the extension: ``P01_01`` finds
    ``P01/videos/P01_01.MP4``.

    Args:
        root: The folder, read as :func:`~.containers.files_below` does.
        extensions: Extensions, in lower case with the dot.

    Raises:
        ListFileError: If there is no such folder.
    """

    def __init__(self, root: str, extensions: Sequence[str]) -> None:
        if not osp.isdir(root):
            raise ListFileError(
                f"There is no folder '{root}'; name the one with the files "
                'with --videos or --audio-root.'
            )
        self.root = root
        self.extensions = tuple(extensions)
        self._by_stem: dict[str, list[PurePath]] = {}
        for path in map(PurePath, files_below(root, self.extensions)):
            inside = path.relative_to(root)
            self._by_stem.setdefault(path.stem, []).append(inside)

    def find(self, names: Sequence[str], split: str) -> str | None:
        """The file of a clip.

        Args:
            names: Names it may have, best first.
            split: Where several files match, the one below a folder called
                like the split is meant.

        Returns:
            Its path, ``root`` included, or None.

        Raises:
            ListFileError: If several files match all the same.
        """
        for name in names:
            stem = _split(name)[0]
            wanted = PurePath(stem).parts
            matches = [
                path
                for path in self._by_stem.get(osp.basename(stem), ())
                if path.with_suffix('').parts[-len(wanted) :] == wanted
            ]
            found = matches
            if len(matches) > 1:
                found = [path for path in matches if split in path.parts[:-1]]
            if len(found) == 1:
                return osp.join(self.root, found[0])
            if matches:
                first, second = (osp.join(self.root, p) for p in matches[:2])
                raise ListFileError(
                    f"Two files are called like the clip '{name}': '{first}' "
                    f"and '{second}'; keep one, or put those of this split "
                    f"below a folder '{split}'."
                )
        return None

    def expected(self, names: Sequence[str]) -> str:
        """The path at which a missing clip should be."""
        stem, extension = _split(names[0])
        if extension.lower() not in self.extensions:
            extension = self.extensions[0]
        return osp.join(self.root, stem + extension)


def _split(name: str) -> tuple[str, str]:
    """Stem and extension; a dot within a name is part of the stem.

    Clips of UCF-101 are avi in the lists and may be mp4 on disk.
    """
    stem, extension = osp.splitext(name)
    known = extension.lower() in VIDEO_EXTENSIONS + AUDIO_EXTENSIONS
    return (stem, extension) if known else (name, '')
