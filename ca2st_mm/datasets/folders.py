# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From folders of videos, one a class, to manifests, class list and config."""

import os
import os.path as osp
import shlex
from pathlib import Path
from typing import NoReturn

import numpy as np
from mmengine.config import Config

from ca2st_mm.utils.text_files import write_texts

from .containers import VIDEO_EXTENSIONS
from .manifest import manifest_text

_SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test'}
# The published weights of AST were trained at this rate.
_AUDIO_RATE = 16000
_CONFIG = '''"""Your clips, {count} classes (by tools/data/from_folders.py)."""

_base_ = {base!r}

mine = dict(
    data_root="{{{{ fileDirname }}}}",  # the folder of this file
    data_prefix=dict(video='', audio=''),
    classes='classes.txt',
    num_classes={count},
)
model = dict(cls_head=dict(num_classes={count}))
{pipelines}train_dataloader = dict(
    dataset=dict(mine, ann_file='train.csv'{train}),
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(dataset=dict(mine, ann_file='val.csv'{val}))
test_dataloader = dict(dataset=dict(mine, ann_file='val.csv'{test}))
# One optimizer step for every batch, however small the set; the learning rate
# follows the batch size.
optim_wrapper = dict(accumulative_counts=1)
work_dir = {work_dir!r}
'''


class FolderError(ValueError):
    """Folders cannot become a data set; says what is wrong and what to do."""


def prepare_folders(
    root: str, base: str, val_fraction: float, seed: int, overwrite: bool
) -> str:
    """Write ``train.csv``, ``val.csv``, ``classes.txt`` and a config.

    All four are written at the end, all or none.

    Args:
        root: Folder of class folders; the files are written into it.
        base: The config to inherit from.
        val_fraction: Part of each class for validation.
        seed: Seed of the split.
        overwrite: Whether to replace the files of an earlier run.

    Returns:
        What was made and what was left out, for the screen.

    Raises:
        FolderError: If something is in the way; nothing is written then.
    """
    videos, left_out = scan_folders(root)
    names = [folder.strip() for folder in videos]
    train, val = split_videos(videos, val_fraction, seed)
    stem = f'{osp.basename(osp.realpath(root))}_{osp.basename(base)[:-3]}'
    config = osp.join(root, f'{stem}.py')
    texts = {config: config_text(base, root, len(names), f'work_dirs/{stem}')}
    for split, rows in dict(train=train, val=val).items():
        path = osp.join(root, f'{split}.csv')
        rows = [dict(file=file, label=label) for file, label in rows]
        texts[path] = manifest_text(path, ('file', 'label'), rows)
    listed = osp.join(root, 'classes.txt')
    texts[listed] = ''.join(f'{name}\n' for name in names)
    there = [path for path in texts if osp.exists(path)]
    if there and not overwrite:
        raise FolderError(
            f'{", ".join(there)} would be replaced; move them away, or pass '
            '--overwrite.'
        )
    try:
        write_texts(texts)
    except OSError as error:
        raise FolderError(f"Cannot write into '{root}': {error}.") from error
    lines = [
        f'{len(names)} classes, {len(train)} clips to train and {len(val)} '
        f'to validate in {root}'
    ]
    lone = [name for name, files in videos.items() if len(files) == 1]
    if lone:
        lines.append(
            f'one clip only, so not in the validation set: {", ".join(lone)}'
        )
    written = {osp.relpath(path, root) for path in texts}
    for why, paths in left_out.items():
        paths = [path for path in paths if path not in written]
        if paths:
            lines.append(f'left out, {why}: {len(paths)}, such as {paths[0]}')
    lines.append(f'now: python tools/train.py {shlex.quote(config)}')
    # Names that are left out may not be UTF-8.
    return '\n'.join(lines).encode(errors='backslashreplace').decode()


def scan_folders(root: str) -> tuple[dict[str, list[str]], dict]:
    """Find the videos of each class.

    Args:
        root: The folder; each folder in it is a class, with videos at any
            depth.  Links are followed, each folder and file is taken once.

    Returns:
        Class folder -> its videos, relative to the root, sorted; and why ->
        files and folders that are left out.

    Raises:
        FolderError: If there are not two classes at least, a class has no
            video, the folders are splits rather than classes, one video is
            in two classes through a link, or a list cannot hold a name.
    """
    if not osp.isdir(root):
        raise FolderError(f"There is no folder '{root}'.")
    _check_utf8(osp.abspath(root))
    if set('"\n\r{\\') & set(osp.abspath(root).replace(os.sep, '/')):
        raise FolderError(
            f'The path {osp.abspath(root)!r} holds a character that no config '
            'can hold; rename the folder.'
        )
    entries = sorted(os.listdir(root))
    visible = [name for name in entries if not name.startswith('.')]
    classes = [name for name in visible if osp.isdir(osp.join(root, name))]
    _check_classes(root, classes)
    left_out = {
        'hidden': [name for name in entries if name.startswith('.')],
        'no videos of a class': [n for n in visible if n not in classes],
        'no regular files': [],
        'links to what is listed already': [],
    }
    videos: dict[str, list[str]] = {}
    seen: dict[str, str] = {}  # by real path
    for name in classes:
        videos[name] = []
        for path in _files_below(root, name, left_out):
            real = osp.realpath(osp.join(root, path))
            if not osp.isfile(real):
                left_out['no regular files'].append(path)
            elif not path.lower().endswith(VIDEO_EXTENSIONS):
                left_out['no videos of a class'].append(path)
            elif real not in seen:
                _check_utf8(path)
                videos[name].append(path)
                seen[real] = name
            elif seen[real] == name:
                left_out['links to what is listed already'].append(path)
            else:
                raise FolderError(
                    f"The video '{path}' in '{root}' is also in the class "
                    f"'{seen[real]}', through a link; remove one of the two."
                )
        if not videos[name]:
            raise FolderError(
                f"The class folder '{osp.join(root, name)}' holds no video "
                f'({", ".join(VIDEO_EXTENSIONS)}); add some or remove it.'
            )
    return videos, left_out


def _check_classes(root: str, folders: list[str]) -> None:
    """Refuse folders that are no classes with a line for each name."""
    if folders and {name.lower() for name in folders} <= _SPLIT_NAMES:
        raise FolderError(
            f"The folders in '{root}' are called {', '.join(folders)}: splits "
            'rather than classes. Put the class folders directly into one '
            'folder; the split is made for you.'
        )
    if len(folders) < 2:
        raise FolderError(
            f"'{root}' holds {len(folders)} class folders, at least 2 are "
            'needed: one folder a class, videos inside.'
        )
    names = [folder.strip() for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        _check_utf8(folder)
        if not name or names.count(name) > 1 or {'\n', '\r'} & set(folder):
            raise FolderError(
                f'The class folder {folder!r} needs a name of its own on one '
                'line, without regard to blanks around it; rename it.'
            )


def _check_utf8(name: str) -> None:
    """Refuse a name that no list can hold."""
    try:
        name.encode('utf-8')
    except UnicodeEncodeError as error:
        raise FolderError(
            f'The name {name!r} is not UTF-8, so no list can hold it; rename '
            "it, for example with 'convmv -r -f gbk -t utf8 --notest FOLDER'."
        ) from error


def _files_below(
    root: str, name: str, left_out: dict[str, list[str]]
) -> list[str]:
    """Files of a class folder relative to the root, hidden ones left out."""

    def stop(error: OSError) -> NoReturn:
        raise FolderError(f'Cannot look into a folder: {error}.') from error

    files, seen, inside = [], set(), Path(root).resolve()
    tree = os.walk(osp.join(root, name), followlinks=True, onerror=stop)
    for folder, folders, names in tree:
        here = osp.relpath(folder, root).replace(os.sep, '/')
        real = osp.realpath(folder)
        if real in seen or Path(real) in (inside, *inside.parents):
            left_out['links to what is listed already'].append(here)
            folders.clear()
            continue
        seen.add(real)
        hidden = [entry for entry in folders + names if entry[0] == '.']
        left_out['hidden'] += [f'{here}/{entry}' for entry in hidden]
        folders[:] = sorted(set(folders) - set(hidden))
        files += [f'{here}/{entry}' for entry in set(names) - set(hidden)]
    return sorted(files)


def split_videos(
    videos: dict[str, list[str]], val_fraction: float, seed: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Draw the validation clips of each class.

    Every class with two clips or more is in both splits; a lone clip is for
    training.

    >>> train, val = split_videos({'run': ['a', 'b'], 'walk': ['c']}, 0.2, 0)
    >>> len(train), len(val)
    (2, 1)

    Args:
        videos: Class -> its videos.
        val_fraction: Part of the clips of each class, between 0 and 1.
        seed: Same seed, same split; classes do not disturb each other.

    Returns:
        Training and validation rows: file, class index.

    Raises:
        FolderError: If ``val_fraction`` is not between 0 and 1, or nothing
            is left for validation.
    """
    if not 0 < val_fraction < 1:
        raise FolderError(
            f'--val-fraction must lie between 0 and 1, got {val_fraction}.'
        )
    train, val = [], []
    for label, (name, files) in enumerate(videos.items()):
        rng = np.random.default_rng([seed, *name.encode()])
        size = min(max(round(val_fraction * len(files)), 1), len(files) - 1)
        chosen = set(rng.permutation(len(files))[:size])
        for number, file in enumerate(files):
            (val if number in chosen else train).append((file, label))
    if not val:
        raise FolderError(
            'No class has two clips, so none is left for validation; add '
            'clips.'
        )
    return train, val


def config_text(base: str, root: str, count: int, work_dir: str) -> str:
    """A config that inherits everything but data and classes.

    It names its base by a relative path and the data by its own folder, so
    that project and data can move together.  Where the base reads audio at
    the rate of the file, it is resampled to the 16 kHz that published
    weights of AST were trained at.

    Args:
        base: The config to inherit from.
        root: Folder of the data set, into which the config is written.
        count: Number of classes.
        work_dir: Folder of logs and checkpoints.

    Raises:
        FolderError: If the base is not there, or is not a config for one
            label a clip whose data is an ``AudioVisualDataset``.
    """
    if not (osp.isfile(base) and base.endswith('.py')):
        raise FolderError(f"There is no config '{base}'; see configs/.")
    cfg = Config.fromfile(base)
    head = (cfg.get('model') or {}).get('cls_head') or {}
    if 'num_classes' not in head:
        raise FolderError(
            f"The head of '{base}' is {head.get('type')}, which has no "
            'num_classes; choose a config with one label a clip, such as '
            'configs/ca2st/ca2st_k400.py.'
        )
    pipelines, uses = '', {}
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.type != 'AudioVisualDataset':
            raise FolderError(
                f"The {split} data of '{base}' is {dataset.type}, which reads "
                'no class folders; choose a config with AudioVisualDataset.'
            )
        steps = [step.to_dict() for step in dataset.pipeline]
        loads = [step for step in steps if step['type'] == 'LoadAudio']
        resampled = [s for s in loads if s.get('sample_rate') is None]
        uses[split] = f', pipeline={split}_pipeline' if resampled else ''
        for step in resampled:
            step['sample_rate'] = _AUDIO_RATE
        if resampled:
            lines = []
            for step in steps:
                items = ', '.join(f'{k}={v!r}' for k, v in step.items())
                lines.append(f'    dict({items}),\n')
            pipelines += f'{split}_pipeline = [\n{"".join(lines)}]\n'
    if pipelines:
        pipelines = (
            '# As in the base, but for the rate of the audio: weights of AST '
            f'were\n# trained at 16 kHz.\n{pipelines}'
        )
    base, root = osp.realpath(base), osp.realpath(root)
    try:
        base = osp.relpath(base, root)
    except ValueError:  # another drive of Windows
        pass
    return _CONFIG.format(
        base=base.replace(os.sep, '/'),
        count=count,
        pipelines=pipelines,
        work_dir=work_dir,
        **uses,
    )
