"""The migrate Job: one run of one step of a transition."""

from switchboard_operator import names
from switchboard_operator.resources import pods
from switchboard_operator.resources.base import Manifest, Release, labels, manifest
from switchboard_operator.resources.pods import Json

CONTAINER = "migrate"
GRACE_S = 30

_ARGUMENTS = {
    "check": ["--phase", "expand", "--check"],
    "expand": ["--phase", "expand"],
    "contract": ["--phase", "contract"],
}


def command(step: str) -> list[str]:
    """The command of a step (``check``, ``expand`` or ``contract``)."""
    return ["switchboard", "migrate", *_ARGUMENTS[step], "--json"]


def migrate_job(release: Release, *, transition: int, step: str, run: int) -> Manifest:
    """The Job. It has no TTL: it goes only after its outcome was recorded."""
    owner, spec = release.owner, release.spec
    limits = spec.migrations
    env: list[Json] = [
        pods.role_env(),
        pods.secret_env("MIGRATION_DATABASE_URL", spec.database.migration_secret_ref),
        {"name": "APP_DATABASE_ROLE", "value": spec.database.app_role},
        {"name": "MIGRATION_LOCK_TIMEOUT_SECONDS", "value": str(limits.lock_timeout_seconds)},
        {"name": "MIGRATION_STATEMENT_TIMEOUT_SECONDS", "value": str(limits.statement_timeout_seconds)},
        {"name": "LOG_LEVEL", "value": spec.logging.level},
        {"name": "LOG_FORMAT", "value": spec.logging.format},
    ]
    main = pods.container(CONTAINER, spec.image("migrate"), release, env, limits.resources)
    # As arguments, so that the image's entrypoint runs them, below an init where the image has one.
    main["args"] = command(step)
    pod = pods.pod_spec(release, main, grace_s=GRACE_S)
    # Never: every attempt keeps its own pod, and with it its exit code and last lines.
    pod["restartPolicy"] = "Never"
    job_labels = labels(owner, "migrate")
    fatal = [names.EXIT_PENDING, names.EXIT_INCOMPATIBLE] if step == "check" else [names.EXIT_INCOMPATIBLE]
    body: Json = {
        "backoffLimit": limits.backoff_limit,
        "activeDeadlineSeconds": limits.active_deadline_seconds,
        "completions": 1,
        "parallelism": 1,
        "podFailurePolicy": {
            "rules": [
                # An answer, not a failure: another attempt would say the same.
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": fatal},
                },
                # An evicted or preempted pod was no attempt.
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"metadata": {"labels": job_labels}, "spec": pod},
    }
    name = names.migrate_job_name(owner.name, transition, step, run)
    return manifest("batch/v1", "Job", name, owner, job_labels, spec=body)
