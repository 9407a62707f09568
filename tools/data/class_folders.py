# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From class folders to annotation files, class list and config."""

import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from mmengine.config import Config
from tqdm import tqdm

from ca2st_mm.datasets.annotations import annotation_text
from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS, probe
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.utils.errors import UserError
from ca2st_mm.utils.text_files import write_texts

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

_SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test'}
# The published weights of AST were trained at this rate.
_AUDIO_RATE = 16000
_CONFIG = '''"""Your clips, {count} classes (by ca2st data from-folders)."""

_base_ = {base!r}

work_dir = {work_dir!r}
mine = dict(
    data_root="{{{{ fileDirname }}}}",  # the folder of this file
    data_prefix=dict(video='', audio=''),
    classes='classes.txt',
    num_classes={count},{bad_samples}
)
model = dict(cls_head=dict(num_classes={count}))
{audio}train_dataloader = dict(
    dataset=dict(mine, ann_file='train.csv'{train}),
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    dataset=dict(mine, ann_file='val.csv'{val}),
)
test_dataloader = dict(
    dataset=dict(mine, ann_file='val.csv'{test}),
)
# One optimizer step for every batch, however small the set; the learning rate
# follows the batch size.
optim_wrapper = dict(accumulative_counts=1)
'''
_BAD_SAMPLES = """
    # Clips that cannot be decoded are left out, up to a quarter of a split.
    max_bad_fraction=0.25,
    quarantine=f'{work_dir}/bad_samples.csv',"""
_AUDIO = """# Of clips without audio: 'drop' the expert, 'silence', or 'raise'.
audio = dict({options})
"""
_PIPELINE = """{split}_pipeline = [
    dict(step, **audio) if step['type'] == 'LoadAudio' else step
    for step in _base_.{split}_dataloader.dataset.pipeline
]
"""


class FolderError(UserError, ValueError):
    """Folders cannot become a data set; says what is wrong and what to do."""


class Prepared(NamedTuple):
    """What :func:`prepare_folders` has made.

    Attributes:
        config: Path of the config.
        work_dir: Where it trains.
        lines: What was made and what was left out, for the screen.
    """

    config: str
    work_dir: str
    lines: list[str]


def prepare_folders(
    root: str,
    base: str,
    val_fraction: float = 0.2,
    seed: int = 0,
    overwrite: bool = False,
    missing_audio: str | None = None,
) -> Prepared:
    """Write ``train.csv``, ``val.csv``, ``classes.txt`` and a config.

    Files whose header cannot be read are left out.  All four files are
    written at the end, all or none.

    Args:
        root: Folder of class folders; the files are written into it.
        base: The config to inherit from.
        val_fraction: Part of each class for validation.
        seed: Seed of the split.
        overwrite: Whether to replace the files of an earlier run.
        missing_audio: What is done about clips without audio, see
            ``LoadAudio``; None for ``'drop'``, or ``'silence'`` where the
            model needs its audio expert.

    Raises:
        FolderError: If something is in the way, or a clip has no audio and
            ``missing_audio`` is ``'raise'``; nothing is written then.
    """
    videos, left_out = scan_folders(root)
    cfg = _read_base(base)
    policy = _possible_policy(cfg)
    if policy == 'silence' and missing_audio == 'drop':
        raise FolderError(
            f"'{base}' cannot do without its audio expert; choose "
            '--missing-audio silence or raise.'
        )
    policy = policy and (missing_audio or policy)
    silent = _leave_unreadable_out(root, videos, left_out)
    names = [folder.strip() for folder in videos]
    train, val = split_videos(videos, val_fraction, seed)
    stem = f'{osp.basename(osp.realpath(root))}_{osp.basename(base)[:-3]}'
    config, work_dir = osp.join(root, f'{stem}.py'), f'work_dirs/{stem}'
    if osp.exists(work_dir) and not osp.exists(config):
        # That of another folder of this name.
        above = osp.basename(osp.dirname(osp.realpath(root)))
        work_dir = f'work_dirs/{above}_{stem}'
    text = _config_text(cfg, base, root, len(names), work_dir, policy)
    texts = {config: text}
    for split, rows in dict(train=train, val=val).items():
        path = osp.join(root, f'{split}.csv')
        rows = [dict(file=file, label=label) for file, label in rows]
        texts[path] = annotation_text(path, ('file', 'label'), rows)
    listed = osp.join(root, 'classes.txt')
    texts[listed] = ''.join(f'{name}\n' for name in names)
    there = [path for path in texts if osp.exists(path)]
    if there and not overwrite:
        raise FolderError(
            f'{", ".join(there)} would be replaced; move them away, or pass '
            '--overwrite.'
        )
    count = len(train) + len(val)
    lines = [
        f'{len(names)} classes, {len(train)} clips to train and {len(val)} '
        f'to validate in {root}'
    ]
    if policy and silent:
        if policy == 'raise':
            raise FolderError(
                f'{len(silent)} of {count} clips have no audio, such as '
                f"'{silent[0]}'; --missing-audio drop or silence takes them."
            )
        lines.append(
            f'{len(silent)} of {count} clips have no audio: '
            f"missing_audio='{policy}' (--missing-audio drop|silence|raise)"
        )
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
    try:
        write_texts(texts)
    except OSError as error:
        raise FolderError(f"Cannot write into '{root}': {error}.") from error
    # Names that are left out may not be UTF-8.
    lines = [line.encode(errors='backslashreplace').decode() for line in lines]
    return Prepared(config, work_dir, lines)


def _leave_unreadable_out(
    root: str, videos: dict[str, list[str]], left_out: dict[str, list[str]]
) -> list[str]:
    """Read the headers of all files; returns those without audio.

    Raises:
        FolderError: If no clip of a class can be read.
    """
    paths = [path for files in videos.values() for path in files]

    def has_audio(path: str) -> bool | None:
        try:
            info = probe(osp.join(root, path))
        except MediaError:
            return None
        return None if info.video is None else info.audio is not None

    with ThreadPoolExecutor() as pool:  # FFmpeg works outside of the lock
        found = pool.map(has_audio, paths)
        # The bar shows in a terminal only.
        bar = tqdm(found, 'opening', len(paths), unit='clip', disable=None)
        audio_of = dict(zip(paths, bar, strict=True))
    unreadable = [path for path, audio in audio_of.items() if audio is None]
    left_out['cannot be opened as a video'] = unreadable
    for name, files in videos.items():
        videos[name] = [path for path in files if audio_of[path] is not None]
        if not videos[name]:
            raise FolderError(
                f"No video of the class folder '{osp.join(root, name)}' can "
                f"be opened, such as '{files[0]}'; replace or remove them."
            )
    return [path for path, audio in audio_of.items() if audio is False]


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


def _read_base(base: str) -> Config:
    """The base config; refuses one that is not for class folders."""
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
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.type != 'AudioVisualDataset':
            raise FolderError(
                f"The {split} data of '{base}' is {dataset.type}, which reads "
                'no class folders; choose a config with AudioVisualDataset.'
            )
    return cfg


def _possible_policy(cfg: Config) -> str | None:
    """``'drop'`` where the model can do without audio; None if it has none."""
    steps = cfg.train_dataloader.dataset.pipeline
    if not any(step.type == 'LoadAudio' for step in steps):
        return None
    inputs = set(cfg.model.backbone.get('inputs', {}).values())
    packs = steps[-1].type == 'PackAudioVisual'
    return 'drop' if packs and inputs > {'audios'} else 'silence'


def _config_text(
    cfg: Config,
    base: str,
    root: str,
    count: int,
    work_dir: str,
    policy: str | None,
) -> str:
    """A config that inherits everything but data and classes.

    It names the data by its own folder and a base of ours by its name, so
    that the folder can move to another machine; any other base by a relative
    path.  Where the base reads audio at the rate of the file, it is resampled
    to the 16 kHz that published weights of AST were trained at.
    """
    audio, options, splits = '', {}, dict(train='', val='', test='')
    for split in splits:
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step['type'] == 'LoadAudio':
                options['missing_audio'] = policy
                if step.get('sample_rate') is None:
                    options['sample_rate'] = _AUDIO_RATE
                splits[split] = f', pipeline={split}_pipeline'
                audio += _PIPELINE.format(split=split)
    if audio:
        values = ', '.join(f'{k}={value!r}' for k, value in options.items())
        audio = _AUDIO.format(options=values) + audio
    quarantined = cfg.train_dataloader.dataset.get('quarantine')
    path = Path(base).resolve()
    if path.is_relative_to(CONFIGS):
        base = f'ca2st_mm::{path.relative_to(CONFIGS).as_posix()}'
    else:
        base = osp.relpath(path, osp.realpath(root)).replace(os.sep, '/')
    return _CONFIG.format(
        base=base,
        count=count,
        audio=audio,
        work_dir=work_dir,
        bad_samples=_BAD_SAMPLES if quarantined else '',
        **splits,
    )
