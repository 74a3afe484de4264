"""``python -m charts``: write or check what of the charts is generated, and check the charts.

``generate`` writes the schema of the value ``spec`` and the tables of values; with ``--check`` it only compares.
``check`` needs helm, helm-unittest and kubeconform, which ``make parts`` builds.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from charts import check, values_schema, values_table
from charts.paths import BOTH, ROOT
from cluster.errors import ClusterError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m charts", description="Generate and check the charts.")
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="write the values schema and the tables in the READMEs")
    generate.add_argument("--check", action="store_true", help="only compare; exit status 1 when a file is outdated")
    commands.add_parser("check", help="lint, unit tests, and every manifest against the schemas of its kind")
    options = parser.parse_args(arguments)
    if options.command == "generate":
        return _generate(only_check=options.check)
    try:
        check.check_all()
    except ClusterError as error:
        sys.stderr.write(f"charts: {error}\n")
        return 1
    return 0


def _generate(*, only_check: bool) -> int:
    outdated = [path for path, wanted in _generated() if path.read_text("utf-8") != wanted]
    if only_check:
        for path in outdated:
            sys.stderr.write(f"{path.relative_to(ROOT)} is outdated: run `make generated`.\n")
        return 1 if outdated else 0
    # The tables are made of the schema, which therefore comes first.
    for path, wanted in _generated():
        path.write_text(wanted, "utf-8")
    return 0


def _generated() -> Iterator[tuple[Path, str]]:
    yield values_schema.PATH, values_schema.render()
    for chart in BOTH:
        yield chart / "README.md", values_table.render(chart)


if __name__ == "__main__":
    sys.exit(main())
