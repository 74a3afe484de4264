"""The scripts that the chart puts into pods."""

import importlib.util
from types import ModuleType

from charts.paths import SWITCHBOARD

FOLDER = SWITCHBOARD / "files"


def load_script(name: str) -> ModuleType:
    """A script as a module, without running it.

    Args:
        name: of its file, without ``.py``.
    """
    spec = importlib.util.spec_from_file_location(f"chart_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
