"""Prometheus metrics that several services share; each process exposes its own registry."""

from prometheus_client import Counter, Histogram

SLICES = Counter("switchboard_job_slices_total", "Slices of background jobs", ["job_type", "outcome"])
SLICE_SECONDS = Histogram(
    "switchboard_job_slice_seconds",
    "Seconds a slice took",
    ["job_type"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 60),
)
ATTEMPTS_ADMITTED = Counter("switchboard_call_attempts_admitted_total", "Call attempts admitted")
ATTEMPTS_SETTLED = Counter("switchboard_call_attempts_settled_total", "Call attempts ended", ["state"])
CARRIER_ANSWERS = Counter("switchboard_carrier_creates_total", "Answers to create calls", ["answer"])
SWEEP_ACTIONS = Counter("switchboard_sweep_actions_total", "What the sweep mended", ["action"])
OUTGOING_MESSAGES = Counter(
    "switchboard_outgoing_messages_total", "Mails and SMS that came into a state", ["channel", "state"]
)
INBOUND_MESSAGES = Counter("switchboard_inbound_messages_total", "SMS that people sent to us", ["wish"])
RECORDINGS = Counter("switchboard_recordings_total", "Recordings that ended", ["status"])
