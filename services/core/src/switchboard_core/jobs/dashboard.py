"""Settings of rq-dashboard for our queues: ``rq-dashboard --config switchboard_core.jobs.dashboard``.

Wake-ups are JSON, so that nothing is ever unpickled. rq-dashboard's own ``--json`` says so for jobs, but its page of
workers (0.9) asks RQ for them without it, and fails as soon as a worker is busy. Only rq-dashboard imports this module.
"""

import importlib
import os
from typing import Any

from redis import Redis
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer, Serializer
from rq.worker import BaseWorker

RQ_DASHBOARD_REDIS_URL = os.environ.get("REDIS_URL")
"""Read by rq-dashboard; its option ``--redis-url`` is for where ``REDIS_URL`` is not set."""


class JsonWorker(Worker):
    """Workers whose current job is read as JSON."""

    @classmethod
    def all(
        cls,
        connection: Redis | None = None,
        job_class: type[Job] | None = None,
        queue_class: type[Queue] | None = None,
        queue: Queue | None = None,
        serializer: Serializer | str | None = None,
    ) -> list[BaseWorker]:
        """All workers, as ``rq.Worker.all``."""
        return super().all(connection, job_class, queue_class, queue, serializer or JSONSerializer)


_web: Any = importlib.import_module("rq_dashboard.web")
_web.config.serializer = JSONSerializer
_web.Worker = JsonWorker
