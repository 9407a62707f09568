# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Report what is installed and how to install what is missing.

``python tools/doctor.py`` ends with status 0 only if the demo can run.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_environment() -> ModuleType:
    """Load the checks by their path.

    Importing the package itself would import everything below it, which is
    just what may be broken.
    """
    # Next to a checkout the package need not be installed.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    package = importlib.util.find_spec('ca2st_mm')
    if package is None or not package.submodule_search_locations:
        print(
            'error: ca2st_mm is not here; run this from a checkout or run: '
            'pip install -e . --no-deps --no-build-isolation',
            file=sys.stderr,
        )
        raise SystemExit(2)
    folder = Path(next(iter(package.submodule_search_locations)))
    path = folder / 'utils' / 'environment.py'
    spec = importlib.util.spec_from_file_location('environment', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Print the report and return the exit status."""
    environment = load_environment()
    rows = environment.examine()
    print(environment.render(rows, color=sys.stdout.isatty()))
    return 0 if environment.can_run_demo(rows) else 1


if __name__ == '__main__':
    sys.exit(main())
