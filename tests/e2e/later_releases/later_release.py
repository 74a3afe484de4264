"""Makes an installed Switchboard a later release: adds its migrations, and the sequence that goes with them.

The migrations of a folder, ``expand.py`` and ``contract.py``, follow whatever the installed ones are, so their
revisions are written with words: ``SEQUENCE`` and ``SEQUENCE_BEFORE`` of expand, ``CONTRACT`` and ``CONTRACT_BEFORE``.
"""

import re
import shutil
import sys
from pathlib import Path

import switchboard_core


def main(migrations: Path) -> None:
    """Add the migrations of a folder."""
    core = Path(switchboard_core.__file__).parent
    versions = core / "migrations" / "versions"
    expand, contract = newest(versions, "expand") + 1, newest(versions, "contract") + 1
    words = {
        "SEQUENCE_BEFORE": str(expand - 1),
        "SEQUENCE": str(expand),
        "CONTRACT_BEFORE": f"c{contract - 1}",
        "CONTRACT": f"c{contract}",
    }
    for kind, number in (("expand", expand), ("contract", contract)):
        text = (migrations / f"{kind}.py").read_text()
        written = re.sub("|".join(words), lambda found: words[found[0]], text)
        (versions / f"{kind}_{number}_{migrations.name}.py").write_text(written)
    state = core / "migrate" / "state.py"
    # It also needs the newest schema: a pod of it that started before the migration would not become ready.
    sequences = re.compile(r"^(CODE_SEQ|REQUIRED_SCHEMA_SEQ) = \d+$", re.MULTILINE)
    changed, times = sequences.subn(rf"\1 = {expand}", state.read_text())
    if times != 2:
        sys.exit(f"{state} is not what this script knows")
    state.write_text(changed)
    # Compiled files may be trusted unchecked.
    shutil.rmtree(state.parent / "__pycache__", ignore_errors=True)


def newest(versions: Path, kind: str) -> int:
    """The highest number of a branch's files."""
    return max(int(found[1]) for file in versions.iterdir() if (found := re.match(rf"{kind}_(\d+)_", file.name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
