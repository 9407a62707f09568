# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Train on your own clips: one folder a class, and a config comes out."""

import argparse
import os
import os.path as osp
import shlex
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from media_job import new_parser

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FULL = CONFIGS / 'ca2st/ca2st_k400.py'
SMALL = CONFIGS / 'toy/ca2st_small.py'


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('root', help='folder of class folders')
    add('--val-fraction', type=float, default=0.2, help='part of each class')
    add('--seed', type=int, default=0, help='of the split')
    add(
        '--base',
        help='config to inherit from (default: CA2ST on Kinetics-400; on a '
        'machine without a GPU a small one that needs no weights)',
    )
    add(
        '--missing-audio',
        choices=('drop', 'silence', 'raise'),
        help='what is done about clips without audio: left to the other '
        'experts, given silence, or refused (default: drop)',
    )
    add('--overwrite', action='store_true', help='replace earlier files')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

from ca2st_mm import zoo
from ca2st_mm.datasets.annotations import annotation_text
from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS, probe
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.engine.launch import UsageError, read_config, run_or_explain
from ca2st_mm.engine.preflight import needed_weights
from ca2st_mm.utils.text_files import write_texts

SPLITS = 'train', 'val', 'test'
SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test'}
# The published weights of AST were trained at this rate.
AUDIO_RATE = 16000
CONFIG = '''"""Your clips, {count} classes (by ca2st data from-folders)."""

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
BAD_SAMPLES = """
    # Clips that cannot be decoded are left out, up to a quarter of a split.
    max_bad_fraction=0.25,
    quarantine=f'{work_dir}/bad_samples.csv',"""
AUDIO = """# Of clips without audio: 'drop' the expert, 'silence', or 'raise'.
audio = dict({options})
"""
PIPELINE = """{split}_pipeline = [
    dict(step, **audio) if step['type'] == 'LoadAudio' else step
    for step in _base_.{split}_dataloader.dataset.pipeline
]
"""
# By class folder its videos, relative to the root and sorted; by reason what
# is left out.
Videos = dict[str, list[str]]
LeftOut = dict[str, list[str]]


def prepare_folders(args: argparse.Namespace) -> tuple[str, str]:
    """Write ``train.csv``, ``val.csv``, ``classes.txt`` and a config.

    Files whose header cannot be read are left out.  All four files are
    written at the end, all or none.

    Returns:
        Path of the config, and where it trains.

    Raises:
        UsageError: If something is in the way, or a clip has no audio and
            ``--missing-audio`` is ``raise``; nothing is written then.
    """
    root, base = args.root, args.base
    videos, left_out = scan_folders(root)
    cfg = read_base(base)
    policy = possible_policy(cfg)
    if policy == 'silence' and args.missing_audio == 'drop':
        raise UsageError(
            f"'{base}' cannot do without its audio expert; choose "
            '--missing-audio silence or raise.'
        )
    policy = policy and (args.missing_audio or policy)
    silent = leave_unreadable_out(root, videos, left_out)
    names = [folder.strip() for folder in videos]
    train, val = split_videos(videos, args.val_fraction, args.seed)
    stem = f'{osp.basename(osp.realpath(root))}_{osp.basename(base)[:-3]}'
    config, work_dir = osp.join(root, f'{stem}.py'), f'work_dirs/{stem}'
    if osp.exists(work_dir) and not osp.exists(config):
        # That of another folder of this name.
        above = osp.basename(osp.dirname(osp.realpath(root)))
        work_dir = f'work_dirs/{above}_{stem}'
    texts = {
        config: config_text(cfg, base, root, len(names), work_dir, policy),
        osp.join(root, 'classes.txt'): ''.join(f'{name}\n' for name in names),
    }
    for split, rows in dict(train=train, val=val).items():
        path = osp.join(root, f'{split}.csv')
        rows = [dict(file=file, label=label) for file, label in rows]
        texts[path] = annotation_text(path, ('file', 'label'), rows)
    there = [path for path in texts if osp.exists(path)]
    if there and not args.overwrite:
        raise UsageError(
            f'{", ".join(there)} would be replaced; move them away, or pass '
            '--overwrite.'
        )
    count = len(train) + len(val)
    lines = [
        f'{len(names)} classes, {len(train)} clips to train and {len(val)} '
        f'to validate in {root}'
    ]
    if silent and policy == 'raise':
        raise UsageError(
            f'{len(silent)} of {count} clips have no audio, such as '
            f"'{silent[0]}'; --missing-audio drop or silence takes them."
        )
    if silent and policy:
        lines.append(
            f'{len(silent)} of {count} clips have no audio: '
            f"missing_audio='{policy}' (--missing-audio drop|silence|raise)"
        )
    if lone := [name for name, files in videos.items() if len(files) == 1]:
        lines.append(
            f'one clip only, so not in the validation set: {", ".join(lone)}'
        )
    written = {osp.relpath(path, root) for path in texts}
    for why, paths in left_out.items():
        if paths := [path for path in paths if path not in written]:
            lines.append(f'left out, {why}: {len(paths)}, such as {paths[0]}')
    try:
        write_texts(texts)
    except OSError as error:
        raise UsageError(f"Cannot write into '{root}': {error}.") from error
    for line in lines:  # names that are left out may not be UTF-8
        print(line.encode(errors='backslashreplace').decode())
    return config, work_dir


def leave_unreadable_out(
    root: str, videos: Videos, left_out: LeftOut
) -> list[str]:
    """Read the headers of all files; returns those without audio.

    Raises:
        UsageError: If no clip of a class can be read.
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
    left_out['cannot be opened as a video'] = [
        path for path, audio in audio_of.items() if audio is None
    ]
    for name, files in videos.items():
        videos[name] = [path for path in files if audio_of[path] is not None]
        if not videos[name]:
            raise UsageError(
                f"No video of the class folder '{osp.join(root, name)}' can "
                f"be opened, such as '{files[0]}'; replace or remove them."
            )
    return [path for path, audio in audio_of.items() if audio is False]


def scan_folders(root: str) -> tuple[Videos, LeftOut]:
    """Find the videos of each class.

    Each folder in the root is a class, with videos at any depth.  Links are
    followed, each folder and file is taken once.

    Raises:
        UsageError: If there are not two classes at least, a class has no
            video, the folders are splits rather than classes, one video is
            in two classes through a link, or a list cannot hold a name.
    """
    if not osp.isdir(root):
        raise UsageError(f"There is no folder '{root}'.")
    check_utf8(osp.abspath(root))
    if set('"\n\r{\\') & set(osp.abspath(root).replace(os.sep, '/')):
        raise UsageError(
            f'The path {osp.abspath(root)!r} holds a character that no config '
            'can hold; rename the folder.'
        )
    entries = sorted(os.listdir(root))
    visible = [name for name in entries if not name.startswith('.')]
    classes = [name for name in visible if osp.isdir(osp.join(root, name))]
    check_classes(root, classes)
    left_out: LeftOut = defaultdict(list)
    left_out['hidden'] = [name for name in entries if name.startswith('.')]
    left_out['no videos of a class'] = sorted(set(visible) - set(classes))
    videos: Videos = {}
    seen: dict[str, str] = {}  # by real path
    for name in classes:
        videos[name] = []
        for path in class_files(root, name, left_out):
            real = osp.realpath(osp.join(root, path))
            if not osp.isfile(real):
                left_out['no regular files'].append(path)
            elif not path.lower().endswith(VIDEO_EXTENSIONS):
                left_out['no videos of a class'].append(path)
            elif real not in seen:
                check_utf8(path)
                videos[name].append(path)
                seen[real] = name
            elif seen[real] == name:
                left_out['links to what is listed already'].append(path)
            else:
                raise UsageError(
                    f"The video '{path}' in '{root}' is also in the class "
                    f"'{seen[real]}', through a link; remove one of the two."
                )
        if not videos[name]:
            raise UsageError(
                f"The class folder '{osp.join(root, name)}' holds no video "
                f'({", ".join(VIDEO_EXTENSIONS)}); add some or remove it.'
            )
    return videos, left_out


def check_classes(root: str, folders: list[str]) -> None:
    """Refuse folders that are no classes with a line for each name."""
    if folders and {name.lower() for name in folders} <= SPLIT_NAMES:
        raise UsageError(
            f"The folders in '{root}' are called {', '.join(folders)}: splits "
            'rather than classes. Put the class folders directly into one '
            'folder; the split is made for you.'
        )
    if len(folders) < 2:
        raise UsageError(
            f"'{root}' holds {len(folders)} class folders, at least 2 are "
            'needed: one folder a class, videos inside.'
        )
    names = [folder.strip() for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        check_utf8(folder)
        if not name or names.count(name) > 1 or {'\n', '\r'} & set(folder):
            raise UsageError(
                f'The class folder {folder!r} needs a name of its own on one '
                'line, without regard to blanks around it; rename it.'
            )


def check_utf8(name: str) -> None:
    """Refuse a name that no list can hold."""
    try:
        name.encode('utf-8')
    except UnicodeEncodeError as error:
        raise UsageError(
            f'The name {name!r} is not UTF-8, so no list can hold it; rename '
            "it, for example with 'convmv -r -f gbk -t utf8 --notest FOLDER'."
        ) from error


def class_files(root: str, name: str, left_out: LeftOut) -> list[str]:
    """Files of a class folder relative to the root, hidden ones left out."""

    def stop(error: OSError) -> NoReturn:
        raise UsageError(f'Cannot look into a folder: {error}.') from error

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
    videos: Videos, val_fraction: float, seed: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Training and validation rows (file, class index), drawn in each class.

    Every class with two clips or more is in both splits; a lone clip is for
    training.  With the same seed classes do not disturb each other.

    >>> train, val = split_videos({'run': ['a', 'b'], 'walk': ['c']}, 0.2, 0)
    >>> len(train), len(val)
    (2, 1)

    Raises:
        UsageError: If ``val_fraction`` is not between 0 and 1, or nothing
            is left for validation.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(
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
        raise UsageError(
            'No class has two clips, so none is left for validation; add '
            'clips.'
        )
    return train, val


def read_base(base: str) -> Config:
    """The base config; refuses one that is not for class folders."""
    cfg = read_config(base)
    head = cfg.model.get('cls_head') or {}
    if 'num_classes' not in head:
        raise UsageError(
            f"The head of '{base}' is {head.get('type')}, which has no "
            'num_classes; choose a config with one label a clip, such as '
            'configs/ca2st/ca2st_k400.py.'
        )
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader') or {}
        kind = loader.get('dataset', {}).get('type')
        if kind != 'AudioVisualDataset':
            raise UsageError(
                f"The {split} data of '{base}' is {kind}, which reads "
                'no class folders; choose a config with AudioVisualDataset.'
            )
    return cfg


def possible_policy(cfg: Config) -> str | None:
    """``'drop'`` where the model can do without audio; None if it has none."""
    steps = cfg.train_dataloader.dataset.pipeline
    if not any(step.type == 'LoadAudio' for step in steps):
        return None
    inputs = set(cfg.model.backbone.get('inputs', {}).values())
    packs = steps[-1].type == 'PackAudioVisual'
    return 'drop' if packs and inputs > {'audios'} else 'silence'


def config_text(
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
    audio, options, splits = '', {}, dict.fromkeys(SPLITS, '')
    for split in SPLITS:
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step['type'] == 'LoadAudio':
                options['missing_audio'] = policy
                if step.get('sample_rate') is None:
                    options['sample_rate'] = AUDIO_RATE
                splits[split] = f', pipeline={split}_pipeline'
                audio += PIPELINE.format(split=split)
    if audio:
        values = ', '.join(f'{k}={value!r}' for k, value in options.items())
        audio = AUDIO.format(options=values) + audio
    quarantined = cfg.train_dataloader.dataset.get('quarantine')
    path = Path(base).resolve()
    if path.is_relative_to(CONFIGS):
        base = f'ca2st_mm::{path.relative_to(CONFIGS).as_posix()}'
    else:
        base = osp.relpath(path, osp.realpath(root)).replace(os.sep, '/')
    return CONFIG.format(
        base=base,
        count=count,
        audio=audio,
        work_dir=work_dir,
        bad_samples=BAD_SAMPLES if quarantined else '',
        **splits,
    )


def command(tool: str, *arguments: str) -> str:
    """A command line of a tool, as this one was called."""
    if sys.argv[0].startswith('ca2st '):
        words = ['ca2st', *tool.replace('_', '-').split('/')]
    else:
        words = ['python', f'tools/{tool}.py']
    return f'  {shlex.join([*words, *arguments])}'


def main() -> None:
    """Write annotation files, class list and config, and say what is next."""
    args = parse_args()
    small = args.base is None and not torch.cuda.is_available()
    args.base = args.base or str(SMALL if small else FULL)
    config, work_dir = prepare_folders(args)
    print('next:')
    print(command('data/check', config, '--decode'))
    print(command('train', config))
    print(command('predict', args.root, '--model', work_dir))
    if small:
        full = 'configs/ca2st/ca2st_k400.py'  # `ca2st` finds it anywhere
        if not sys.argv[0].startswith('ca2st '):
            full = str(FULL)
        weights = [
            path.removeprefix(zoo.SCHEME)
            for path in needed_weights(read_config(str(FULL)))
            if path.startswith(zoo.SCHEME)
        ]
        print(
            'This machine has no GPU, so the model is small and learns from '
            'scratch.\nFor CA2ST with pretrained experts, on a GPU:'
        )
        print(command('weights', 'get', *weights))
        flags = '--base', full, '--overwrite'
        print(command('data/from_folders', args.root, *flags))


if __name__ == '__main__':
    run_or_explain(main)
