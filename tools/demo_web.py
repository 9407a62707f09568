# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A page to try a model: ``ca2st serve [CONFIG CHECKPOINT]``.

Without a model it is the one that ``make demo`` has trained here.
"""

import argparse
import socket
from contextlib import suppress
from pathlib import Path

from common_flags import add_model, new_parser, positive


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='config file')
    add('checkpoint', nargs='?', help='weights')
    add_model(parser)
    add(
        '--host',
        default='127.0.0.1',
        help='where to listen; without the flag this machine alone asks',
    )
    add('--port', type=int, default=7860, help='where to listen')
    add('--max-megabytes', type=positive, default=200.0, help='of a clip, MB')
    add('--max-seconds', type=positive, default=600.0, help='of a clip')
    add(
        '--upload-seconds',
        type=positive,
        default=60.0,
        help='seconds that sending a clip may take',
    )
    add(
        '--at-once',
        type=int,
        choices=range(1, 65),
        metavar='N',
        default=2,
        help='questions that the model answers at the same time',
    )
    add(
        '--window',
        type=positive,
        default=2.0,
        help='seconds of a window of the time line; more for long clips',
    )
    add(
        '--examples',
        metavar='FOLDER',
        help='up to 24 videos that the page offers; of the toy if left out',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

from named_model import load_named

from ca2st_mm import Recognizer
from ca2st_mm.datasets.containers import (
    NO_VIDEO,
    VIDEO_EXTENSIONS,
    files_below,
)
from ca2st_mm.engine.launch import UsageError, run_or_explain

try:
    import uvicorn

    from ca2st_mm.web.answers import Answers
    from ca2st_mm.web.server import Page, make_app
except ModuleNotFoundError as error:
    raise SystemExit(
        f'error: the page needs {error.name}; '
        'pip install anyio prometheus_client starlette uvicorn'
    ) from None

# Where tools/demo.py finds and leaves them.
TOY_CONFIG = Path(__file__).resolve().parents[1] / 'configs/toy/ca2st_toy.py'
TOY_RUN = Path('work_dirs/toy/ca2st_toy')
TOY_CLIPS = Path('data/toy/videos')
MOST_EXAMPLES, MOST_OWN_EXAMPLES = 6, 24


def load(args: argparse.Namespace) -> tuple[str, Recognizer]:
    """Build the model that the flags name, and name it.

    Raises:
        UsageError: If there is none.
    """
    if bool(args.config) != bool(args.checkpoint):
        raise UsageError('name both CONFIG and CHECKPOINT, or use --model')
    if args.model and args.config:
        raise UsageError('name either CONFIG and CHECKPOINT, or --model')
    if not (args.model or args.config):
        args.config, args.checkpoint = str(TOY_CONFIG), toy_checkpoint()
    return Path(args.model or args.config).stem, load_named(args)


def toy_checkpoint() -> Path:
    """The last checkpoint of the toy model.

    Raises:
        UsageError: If it has not been trained.
    """
    pointer = TOY_RUN / 'last_checkpoint'
    path = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if path is None or not path.is_file():
        raise UsageError(
            'there is no toy model here yet; run `ca2st demo` first, or name '
            'CONFIG and CHECKPOINT, or --model'
        )
    return path


def find_examples(folder: str | None) -> list[Path]:
    """The clips that the page offers.

    Raises:
        UsageError: If the folder has none.
    """
    if folder is None:
        return sorted(TOY_CLIPS.glob('test_*.mp4'))[:MOST_EXAMPLES]
    if not Path(folder).is_dir():
        raise UsageError(f'--examples {folder}: there is no such folder')
    examples = [Path(p) for p in files_below(folder, VIDEO_EXTENSIONS)]
    if not examples:
        raise UsageError(f'--examples {folder}: {NO_VIDEO}')
    return examples[:MOST_OWN_EXAMPLES]


def listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded.

    Raises:
        UsageError: If it cannot be had.
    """
    try:
        if ':' not in host:
            return socket.create_server((host, port))
        both = host == '::' and socket.has_dualstack_ipv6()
        return socket.create_server(
            (host, port), family=socket.AF_INET6, dualstack_ipv6=both
        )
    except (OSError, OverflowError) as error:
        raise UsageError(
            f'port {port} of {host} cannot be had ({error}); name another '
            'one with --port'
        ) from error


def main() -> None:
    """Serve the page until it is stopped."""
    args = parse_args()
    examples = find_examples(args.examples)
    with listen(args.host, args.port) as port:
        title, recognizer = load(args)
        answers = Answers(recognizer, args.max_seconds, args.window)
        page = Page(
            title,
            round(args.max_megabytes * 1e6),
            examples,
            args.upload_seconds,
            args.at_once,
        )
        app = make_app(answers, page, args.host)
        name = f'[{args.host}]' if ':' in args.host else args.host
        print(
            f'open http://{name}:{port.getsockname()[1]} in a browser; '
            'Ctrl+C ends it',
            flush=True,
        )
        # A browser that holds a connection does not hold up the end.
        # Its logging config would close the log files of this process.
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level='warning',
            timeout_graceful_shutdown=3,
        )
        server = uvicorn.Server(config)
        # Ctrl+C has stopped the server; nothing else is to be said.
        with suppress(KeyboardInterrupt):
            server.run([port])


if __name__ == '__main__':
    run_or_explain(main)
