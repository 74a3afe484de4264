"""What Prometheus reads of the api: ``GET /metrics``."""

import math
import time

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

# Routes are templates (/api/tasks/{task_id}), never paths: the number of series must not grow with the ids.
REQUESTS = Counter("switchboard_http_requests", "Requests answered.", ["method", "route", "status"])
DURATION = Histogram(
    "switchboard_http_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SOCKETS = Gauge("switchboard_live_sockets", "WebSockets that follow a task.")
LIVE_CONNECTED = Gauge("switchboard_live_redis_connected", "Whether this replica hears of changes through Redis.")
READY = Gauge("switchboard_ready", "Whether the last look at this replica found it ready.")
RUNNABLE = Gauge(
    "switchboard_runnable_jobs", "Runnable work of a pool, as this replica told the autoscaler just now.", ["pool"]
)
RUNNABLE_COUNTS_S = 60.0
"""Seconds for which the autoscaler was told *just now*: afterwards another replica is asked, or none."""


def show_runnable(pool: str, number: int) -> None:
    """Show a pool's runnable work, as long as it is news."""
    told_at = time.monotonic()
    RUNNABLE.labels(pool).set_function(lambda: number if time.monotonic() - told_at < RUNNABLE_COUNTS_S else math.nan)


router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {
                    "example": 'switchboard_http_requests_total{method="GET",route="/api/tasks",status="200"} 12.0'
                }
            },
            "description": "The text format of Prometheus.",
        }
    },
)
def metrics() -> Response:
    """Counters and histograms of this replica; needs no key, so keep the path off the public network."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
