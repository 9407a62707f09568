# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Flags that several tools have; torch is not imported, so --help is quick."""

import argparse
import math
import sys
from typing import Any

PRECISIONS = 'auto', 'float32', 'bfloat16', 'float16'


def _end(kind: type[BaseException], *rest: Any) -> None:
    """Ctrl-C while modules are imported is one line, as it is later."""
    if issubclass(kind, KeyboardInterrupt):
        print('stopped by Ctrl-C', file=sys.stderr)
    else:
        sys.__excepthook__(kind, *rest)


sys.excepthook = _end


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description and names the defaults of flags."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        value, unsaid = action.default, (None, '', [], (), argparse.SUPPRESS)
        if value is False or value in unsaid:
            return action.help
        if isinstance(value, (list, tuple)):
            value = ' '.join(map(str, value))
        return f'{action.help} (default: {value})'


def new_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help is a docstring, with the defaults of its flags."""
    return argparse.ArgumentParser(
        description=description, formatter_class=_Help
    )


def whole(text: str) -> int:
    """A whole number from 1 on."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'is at least 1, got {text}')
    return value


def positive(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return value


def add_model(parser: argparse._ActionsContainer) -> None:
    """A model by one name, and where it runs."""
    add = parser.add_argument
    add(
        '--model',
        help='name in the zoo, a checkpoint with its config inside, a folder '
        'of save_pretrained, the work folder of a training, or '
        'OWNER/NAME@REVISION on the Hub',
    )
    add('--device', help='e.g. cpu, cuda; the best there is if left out')


def add_prediction(parser: argparse._ActionsContainer) -> None:
    """How the clips of files and lists are read and computed."""
    add = parser.add_argument
    add(
        '--missing-audio',
        choices=('raise', 'silence', 'drop'),
        help='what is done about a clip without audio: an error, silence in '
        'its place, or without the audio expert; if left out as the config '
        'says, and drop where that is raise',
    )
    add(
        '--data-root', help='of paths in lists; folder of the list if left out'
    )
    add_precision(parser)


def add_precision(parser: argparse._ActionsContainer) -> None:
    """The arithmetic."""
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='arithmetic of matrix products; auto: bfloat16 where the '
        'hardware multiplies it, else float32; as the config says if left '
        'out (our recipes: auto)',
    )


def add_cfg_options(parser: argparse._ActionsContainer) -> None:
    """Changes to a config, which ``engine.launch.read_config`` applies."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='changes to the config, as key.subkey=value ...; a list is '
        'written key="[a,b]", without blanks',
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """What training and testing share with MMAction2's tools."""
    add = parser.add_argument
    add_precision(parser)
    add('--work-dir', help='folder for logs and results')
    add_cfg_options(parser)
    add(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='what started the processes of a distributed run',
    )
    # Old launchers pass the rank as a flag, new ones in the environment.
    hidden = dict(type=int, default=0, help=argparse.SUPPRESS)
    add('--local_rank', '--local-rank', **hidden)
