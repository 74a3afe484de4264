"""Every reason that a condition or an Event may have.

People search for these words, alerts and scripts compare them: none is ever renamed. ``docs/conditions.md`` has a
meaning and a remedy for each; a test compares the two.
"""

from typing import Literal

MigratedReason = Literal[
    "UpToDate",
    "Pending",
    "Checking",
    "Migrating",
    "MigrationRetrying",
    "CheckFailed",
    "MigrationFailed",
    "ReleaseRefused",
    "SecretMissing",
    "SecretRefused",
    "InvalidSpec",
]
"""Of the condition ``DatabaseMigrated``."""

AvailableReason = Literal["PodsAvailable", "PodsUnavailable", "NotInstalled"]
"""Of the condition ``Available``."""

ProgressingReason = Literal[
    "Checking",
    "Migrating",
    "MigrationRetrying",
    "RollingOut",
    "WaitingForOldPods",
    "Contracting",
    "Settled",
    "Blocked",
    "Paused",
    "Pending",
]
"""Of the condition ``Progressing``."""

DegradedReason = Literal[
    "AsExpected",
    "InvalidSpec",
    "SecretMissing",
    "SecretRefused",
    "ReleaseRefused",
    "CheckFailed",
    "MigrationFailed",
    "MigrationRetrying",
    "ContractFailed",
    "ContractRetrying",
    "ImagePullFailed",
    "PodsFailing",
    "Unschedulable",
    "PodsNotReady",
    "RolloutStalled",
    "PodsRefused",
    "NameTaken",
    "ApiRefused",
]
"""Of the condition ``Degraded``."""

ConditionReason = Literal["Ready"] | MigratedReason | AvailableReason | ProgressingReason | DegradedReason
"""Of any condition; ``Ready`` takes the reason of whichever keeps it from being true."""

EventReason = Literal[
    "TransitionStarted",
    "TransitionCancelled",
    "MigrationStarted",
    "MigrationAttemptFailed",
    "MigrationFailed",
    "MigrationRetried",
    "ReleaseRefused",
    "DatabaseMigrated",
    "RolledOut",
    "Contracted",
    "ContractAttemptFailed",
    "ContractFailed",
    "SecretsChanged",
    "CredentialsKeyMade",
    "Scaled",
    "ScaleCorrected",
    "DriftRepaired",
]
"""Of Events about something that happened; a condition that changes is told with its own reason."""
