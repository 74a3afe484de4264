#!/usr/bin/env python3
"""A lint rule: no query outside a tenant's transaction.

Row-level security hides every tenant's rows from a transaction without a tenant. So what reaches the database past
``Database.tenant()`` is either one of the few look-ups of ``switchboard_core.crossing``, or a mistake that shows as
"nothing found" in production. This finds it while it is written:

* ``database.crossing()`` opens only in the modules listed here, and its session goes only to functions of
  ``crossing``, to ``set_tenant`` (after which the transaction has a tenant), or to a call listed for the module.
* Engines, sessions and connections are made only in the modules listed here.
* The tenant's setting and row security are switched only where they are made.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CROSSING: dict[str, frozenset[str]] = {
    "switchboard_api/runnable.py": frozenset(),
    "switchboard_cli/commands/credentials.py": frozenset(),
    "switchboard_core/broadcasts/delivery.py": frozenset(),
    "switchboard_core/broadcasts/inbound.py": frozenset(),
    "switchboard_core/broadcasts/unsubscribe.py": frozenset(),
    "switchboard_core/calls/asking.py": frozenset(),
    # It asks crossing.py and nothing else.
    "switchboard_core/calls/callbacks.py": frozenset({"_find(session, attempt, form)"}),
    "switchboard_core/calls/cleanup.py": frozenset(),
    "switchboard_core/calls/pump.py": frozenset(),
    "switchboard_core/calls/reconcile.py": frozenset(),
    # worker_heartbeats belongs to no tenant.
    "switchboard_core/calls/startup.py": frozenset({"worker_lives(session, settings.dead_worker_after_seconds)"}),
    "switchboard_core/calls/stop_calls.py": frozenset(),
    # What no tenant has: the queues in Redis, carrier_accounts, and a transaction that cannot write.
    "switchboard_core/doctor/examine.py": frozenset(
        {
            "session.connection(execution_options=_READ_ONLY)",
            "queues.of_all(session)",
            "calls.of_all(session)",
        }
    ),
    # carrier_accounts belongs to no tenant.
    "switchboard_core/doctor/repair.py": frozenset(
        {
            (
                "session.execute(text('UPDATE carrier_accounts SET rate_tokens = 0"
                " WHERE account_sid = :sid AND rate_tokens < 0'), {'sid': finding.key})"
            ),
        }
    ),
    "switchboard_core/jobs/kernel.py": frozenset(),
    "switchboard_core/mailbox/search.py": frozenset(),
    "switchboard_core/outbox/abandoned.py": frozenset(),
    # worker_heartbeats belongs to no tenant.
    "switchboard_core/process.py": frozenset({"session.execute(statement)"}),
    # schema_state belongs to no tenant.
    "switchboard_core/migrate/state.py": frozenset(
        {
            "read_state(session)",
            "session.execute(text(\"SELECT row_security_active('public.businesses')\"))",
        }
    ),
    # The id of a business that is about to be: it becomes the tenant of this very transaction.
    "switchboard_core/tenancy/service.py": frozenset(
        {"session.execute(text(\"SELECT nextval(pg_get_serial_sequence('public.businesses', 'id'))\"))"}
    ),
    "switchboard_recorder/jobs.py": frozenset(),
    "switchboard_recorder/retention.py": frozenset(),
    # An advisory lock, and worker_heartbeats, belong to no tenant. What finds is a function of crossing.py.
    "switchboard_worker/sweep.py": frozenset(
        {
            "lock.execute(text(_LOCK), {'name': part.lock_name})",
            "find(session, 1)",
            "find(session, BATCH, queued_ids=seen)",
            (
                "session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.seen_at < after_seconds(-86400.0))"
                ".returning(WorkerHeartbeat.name))"
            ),
        }
    ),
    "switchboard_worker/tasks/mailbox.py": frozenset(),
}
"""Modules that may look across tenants, and what else than functions of ``crossing`` they may send there."""

CONNECTING = frozenset(
    {
        "switchboard_core/db.py",
        # The owner's connection, only for `switchboard migrate`.
        "switchboard_core/migrate/blockers.py",
        "switchboard_core/migrate/connection.py",
        # Servers of the demo, the trial and the tests.
        "switchboard_cli/devstack/postgres.py",
        "switchboard_cli/trial/postgresql.py",
    }
)
"""Modules that may make engines, sessions or connections themselves."""

SWITCHING = frozenset({"switchboard_core/db.py"})
"""Modules, beside migrations, whose SQL may name the tenant's setting or switch row security."""

_MAKERS = frozenset({"create_engine", "create_async_engine", "engine_from_config", "sessionmaker", "scoped_session"})
_SWITCHES = ("app.business_id", "row_security =", "set role", "session authorization")


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong, and where."""

    path: str
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.sentence}"


def check(source: str, module: str, crossing: Mapping[str, frozenset[str]] = CROSSING) -> list[Finding]:
    """The findings of one module.

    Args:
        source: Python.
        module: path below ``src``, such as ``switchboard_core/db.py``.
        crossing: who may look across tenants, and with what.
    """
    tree = ast.parse(source)
    found = [
        *_unlisted_connections(tree, module),
        *_unlisted_switches(tree, module),
        *_crossings(tree, module, crossing),
    ]
    return sorted(found)


def check_tree(services: Path) -> tuple[list[Finding], int]:
    """The findings of every module of the services, and how many modules there are."""
    found: list[Finding] = []
    modules = sorted(services.glob("*/src/**/*.py"))
    for path in modules:
        module = path.relative_to(services).as_posix().partition("/src/")[2]
        found += check(path.read_text(encoding="utf-8"), module)
    return found, len(modules)


def _unlisted_connections(tree: ast.AST, module: str) -> Iterator[Finding]:
    if module in CONNECTING:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _connects(node):
            yield Finding(
                module, node.lineno, f"{ast.unparse(node.func)}() goes past the tenant: use Database.tenant()."
            )


def _connects(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in _MAKERS or name in {"Session", "orm.Session", "psycopg.connect", "psycopg.Connection.connect"}:
        return True
    owner = name.rpartition(".")[0].rpartition(".")[2]
    return last in {"connect", "begin", "raw_connection"} and owner in {"engine", "_engine"}


def _unlisted_switches(tree: ast.AST, module: str) -> Iterator[Finding]:
    if module in SWITCHING or module.startswith("switchboard_core/migrations/"):
        return
    prose = {id(node) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            for word in _SWITCHES:
                if word in node.value.lower():
                    yield Finding(module, node.lineno, f"SQL with {word!r} belongs into switchboard_core/db.py.")


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _crossings(tree: ast.AST, module: str, crossing: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    opened = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.With):
            continue
        for item in node.items:
            if not _is_crossing(item.context_expr):
                continue
            opened.add(id(item.context_expr))
            if module not in crossing:
                yield Finding(
                    module, node.lineno, "crossing() opens a transaction without a tenant: see .ci/tenants.py."
                )
            elif isinstance(item.optional_vars, ast.Name):
                yield from _uses(node, item.optional_vars.id, module, crossing[module])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_crossing(node) and id(node) not in opened:
            yield Finding(
                module, node.lineno, "crossing() is opened with a `with` of its own, so that it can be checked."
            )


def _is_crossing(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "crossing"


def _uses(block: ast.With, session: str, module: str, calls_allowed: frozenset[str]) -> Iterator[Finding]:
    """Uses of a crossing session, up to where its transaction gets a tenant, that are not allowed."""
    body = ast.Module(body=block.body, type_ignores=[])
    rebound = {id(use) for inner in _inner_blocks(body, session) for use in _names(inner, session)}
    uses = {id(use): use for use in _names(body, session) if id(use) not in rebound}
    calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
    tenant_from = min(
        (call.lineno for call in calls if ast.unparse(call.func) == "set_tenant" and _passes(call, session)),
        default=sys.maxsize,
    )
    allowed = {_normal(text) for text in calls_allowed}
    for call in calls:
        by_function = ast.unparse(call.func).startswith("crossing.") and _passes(call, session)
        if by_function or ast.unparse(call) in allowed:
            for use in _names(call, session):
                uses.pop(id(use), None)
    for use in uses.values():
        if use.lineno < tenant_from:
            yield Finding(module, use.lineno, f"{session!r} has no tenant here: use a function of crossing.py.")


def _inner_blocks(body: ast.AST, session: str) -> Iterator[ast.With]:
    for node in ast.walk(body):
        if isinstance(node, ast.With) and any(
            isinstance(item.optional_vars, ast.Name) and item.optional_vars.id == session for item in node.items
        ):
            yield node


def _names(node: ast.AST, name: str) -> Iterator[ast.Name]:
    return (found for found in ast.walk(node) if isinstance(found, ast.Name) and found.id == name)


def _passes(call: ast.Call, session: str) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Name) and call.args[0].id == session


def _normal(source: str) -> str:
    return ast.unparse(ast.parse(source, mode="eval"))


def main(arguments: list[str]) -> int:
    """Check the services, or those below the folder that is named; returns the exit status."""
    found, modules = check_tree(Path(arguments[0]) if arguments else ROOT / "services")
    for finding in found:
        sys.stderr.write(f"{finding}\n")
    if not modules:
        sys.stderr.write("tenants: there is no module to check here.\n")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
