"""A business with a mailbox on a real IMAP server, and what the tests of mailboxes do with it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from imap_server import HOST, PASSWORD, USER, ImapServer
from integration.kernel_support import Bench
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.mailbox import service
from switchboard_core.mailbox.imap import ImapSession
from switchboard_core.mailbox.oauth import Grant
from switchboard_core.mailbox.progress import Patience
from switchboard_core.mailbox.schemas import MailboxOrder, Rules
from switchboard_core.mailbox.sort import sort_slice

JOB = "background_sort_task"
IMPATIENT = Patience(first_s=0.01, longest_s=0.02, tries=4)

RULES = [
    {
        "name": "Invoices",
        "match": {"subject": "invoice"},
        "action": {"move_to": "Receipts/2026", "mark_seen": True},
    },
    {"name": "News", "match": {"list_id": "news.example.org"}, "action": {"move_to": "News"}},
    {"name": "Alerts", "match": {"sender": "alerts@example.org"}, "action": {"mark_seen": True}},
]


class KilledError(BaseException):
    """The process is gone."""


@dataclass
class MailboxBench:
    """A business with a kernel and an IMAP server."""

    jobs: Bench
    server: ImapServer

    def connect(self, *, port: int | None = None, grant: Grant | None = None, **changes: Any) -> int:
        """Connect the server's mailbox past the api, unchecked; its id."""
        login: dict[str, Any] = {"kind": "password", "password": PASSWORD}
        if grant is not None:
            login = {"kind": "oauth2", **{name: value for name, value in grant.as_secret().items() if value}}
            login = {name: login[name] for name in login if name not in {"access_token", "expires_at"}}
        known = {"host": HOST, "port": port or self.server.port, "security": "none", "username": USER, "login": login}
        order = MailboxOrder.model_validate({**known, **changes})
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            return service.connect(session, self.jobs.runtime.settings, order, grant).id

    def set_rules(self, mailbox_id: int, rules: Sequence[dict[str, Any]] = RULES) -> None:
        """Replace the rules of a mailbox."""
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            service.set_rules(session, mailbox_id, Rules.model_validate({"rules": rules}))

    def mailbox(self, *, port: int | None = None, **changes: Any) -> int:
        """A connected mailbox with ``RULES``."""
        mailbox_id = self.connect(port=port, **changes)
        self.set_rules(mailbox_id)
        return mailbox_id

    def start(self, mailbox_id: int) -> int:
        """Enqueue the sorting as the api does; the task's id."""
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            return service.sort(session, self.jobs.runtime, mailbox_id).id

    def kernel(self, patience: Patience = IMPATIENT) -> Kernel:
        """What a worker process has."""
        return self.jobs.kernel(partial(sort_slice, self.jobs.runtime, patience=patience), job_type=JOB)

    def finish(self, task_id: int, kernel: Kernel | None = None, *, budget_s: float = 2.0) -> dict[str, Any]:
        """Run slices until the task has ended, through its sleeps and its worker's deaths; its row."""
        working = kernel or self.kernel()
        for _ in range(500):
            try:
                outcome = working.run_slice(task_id, budget_s=budget_s)
            except KilledError:
                # Time passes until somebody takes over.
                self.jobs.set(task_id, "lease_until = now() - interval '1 s'")
                continue
            row = self.jobs.job(task_id)
            if row["status"] in {"completed", "failed", "cancelled"}:
                return row
            if outcome is Outcome.FINISHED:
                self.jobs.set(task_id, "run_after = now() - interval '1 s'")
        raise AssertionError("the task does not end")

    def sort(self, mailbox_id: int) -> dict[str, Any]:
        """Sort a mailbox to the end; the task's row."""
        return self.finish(self.start(mailbox_id))

    def sorted_messages(self) -> list[dict[str, Any]]:
        """The rows of what was sorted."""
        return self.jobs.sql("SELECT * FROM sorted_messages ORDER BY id")


@contextmanager
def killed(jobs: Bench, strikes: Callable[[], bool]) -> Iterator[list[KilledError]]:
    """Ask before each statement and commit, and before and after each command to the mail server: dies it there?

    Yields its deaths.
    """
    deaths: list[KilledError] = []
    engine = jobs.runtime.database.engine
    worker = threading.current_thread()

    def died() -> KilledError:
        deaths.append(KilledError())
        return deaths[-1]

    def boundary(*_: object) -> None:
        # The thread that renews leases is not the one to be killed: it would die alone.
        if threading.current_thread() is worker and strikes():
            raise died()

    def before_commit(connection: Connection) -> None:
        if threading.current_thread() is worker and strikes():
            # A killed client commits nothing: the server ends its transaction.
            connection.invalidate()
            raise died()

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def command(*args: Any, **options: Any) -> Any:
            boundary()
            answer = real(*args, **options)
            boundary()
            return answer

        return command

    listeners = (("before_cursor_execute", boundary), ("commit", before_commit))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("select", "headers", "add_flags", "create_folder", "move", "remove"):
            patched.setattr(ImapSession, name, around(getattr(ImapSession, name)))
        try:
            yield deaths
        finally:
            for name, listener in listeners:
                event.remove(engine, name, listener)
