"""What the operator tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

API_REQUESTS = Counter(
    "switchboard_operator_api_requests_total", "Requests to the API server.", ["verb", "kind", "status"]
)
API_SECONDS = Histogram("switchboard_operator_api_seconds", "Time of requests to the API server.", ["verb"])
RECONCILES = Counter("switchboard_operator_reconciles_total", "Reconciliations by result.", ["result"])
RECONCILE_SECONDS = Histogram("switchboard_operator_reconcile_seconds", "Time of one reconciliation.")
ACTIONS = Counter("switchboard_operator_actions_total", "What reconciliations did.", ["action"])
QUEUE_DEPTH = Gauge("switchboard_operator_queue_depth", "Switchboards that wait for a reconciliation.")
LEADER = Gauge("switchboard_operator_leader", "1 in the replica that acts.")
CONDITION = Gauge(
    "switchboard_operator_condition",
    "1 while a condition of a Switchboard is True.",
    ["namespace", "name", "condition"],
)
MIGRATION_FAILING = Gauge(
    "switchboard_operator_migration_failing",
    "1 while the latest attempt to migrate the database of a Switchboard has failed.",
    ["namespace", "name"],
)
PAUSED = Gauge("switchboard_operator_paused", "1 while a Switchboard is paused on purpose.", ["namespace", "name"])
