"""What kinds of background jobs exist: names, queues, versions. The work itself lives in the worker.

The api enqueues by name and never imports the worker, so what it must know about a kind stands here.
"""

from dataclasses import dataclass


class UnknownJobTypeError(LookupError):
    """No such kind of job; the message lists those that exist."""


@dataclass(frozen=True)
class JobSpec:
    """A kind of background job.

    Attributes:
        name: the job type, also the first part of the RQ job id.
        queue: where its wake-ups go.
        version: of the payload; a worker that knows another version parks the job.
        timeout_s: hard limit of one slice in seconds (slices aim at about two).
        ends_itself: a cancel is handed to the task, which winds down in slices, instead of ending the job at once.
        private_result: its result quotes people's mails and calls: it is read from PostgreSQL and never goes
            through Redis.
    """

    name: str
    queue: str
    version: int = 1
    timeout_s: int = 60
    ends_itself: bool = False
    private_result: bool = False


_SPECS = (
    JobSpec("enqueue_outbound_calls", "default", ends_itself=True),
    JobSpec("delete_leads", "maintenance"),
    JobSpec("update_leads", "maintenance"),
    JobSpec("delete_imported_leads", "maintenance"),
    JobSpec("restore_leads", "maintenance"),
    JobSpec("send_payment_receipt_job", "receipts", ends_itself=True),
    JobSpec("delete_receipts_all", "maintenance"),
    JobSpec("receipts_sync", "receipts_sync"),
    JobSpec("background_sort_task", "default"),
    JobSpec("voice_search_task", "high", private_result=True),
    JobSpec("sync_ledger", "low"),
    JobSpec("broadcast", "broadcasts", ends_itself=True),
)

CATALOG = {spec.name: spec for spec in _SPECS}


def has_private_result(name: str) -> bool:
    """Whether the results of this kind of job stay in PostgreSQL; a kind that is not known has none."""
    spec = CATALOG.get(name)
    return spec is not None and spec.private_result


def spec_of(name: str) -> JobSpec:
    """The kind of job called ``name``.

    Raises:
        UnknownJobTypeError: there is none.
    """
    try:
        return CATALOG[name]
    except KeyError:
        msg = f"There is no background job called {name!r}. Known jobs: {', '.join(sorted(CATALOG))}."
        raise UnknownJobTypeError(msg) from None
