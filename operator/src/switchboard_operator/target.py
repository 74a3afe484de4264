"""Where a Switchboard is to go: its spec and the hashes that tell releases apart. Pure."""

from dataclasses import dataclass
from typing import Self

from switchboard_operator import secrets
from switchboard_operator.render import with_scale_of
from switchboard_operator.resources.base import REVISION, digest
from switchboard_operator.resources.job import command
from switchboard_operator.snapshot import Observed
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import Applied


@dataclass(frozen=True)
class Target:
    """What the user wants now.

    Attributes:
        spec: of the resource.
        key: what has to pass the gate once: version, images (with their digests, where references carry them), the
            migration's commands and configuration, and which database it is for.
        release: hash of the images that pods run.
        secrets: checksum of the Secrets that pods of today's templates see.
        migration_secret: checksum of the owner's database URL.
        missing: sentences about Secrets that are not there.
        refused: sentences about Secrets that hold what no pod may carry.
    """

    spec: SwitchboardSpec
    key: str
    release: str
    secrets: str
    migration_secret: str
    missing: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def waits(self) -> bool:
        """Nothing may begin before a person has put a Secret right."""
        return bool(self.missing or self.refused)

    @classmethod
    def of(cls, spec: SwitchboardSpec, observed: Observed) -> Self:
        """Read it off the spec and the Secrets."""
        owner = observed.owner
        migration_secret = secrets.migration_checksum(spec, observed.secrets, owner)
        applied = observed.state.applied
        if applied and _has_passed(spec, migration_secret, applied):
            # Also with the commands of an operator that is older or newer: its upgrade alone is no transition.
            key = applied.key
        else:
            commands = [command(step) for step in ("check", "expand", "contract")]
            key = digest(_what_passes(spec) | {"commands": commands, "database": migration_secret})
        return cls(
            spec=spec,
            key=key,
            release=digest(_images(spec), 10),
            secrets=secrets.pods_checksum(spec, observed.secrets, owner, REVISION),
            migration_secret=migration_secret,
            missing=tuple(secrets.missing(spec, observed.secrets, owner, observed.state.applied)),
            refused=tuple(secrets.refused(spec, observed.secrets)),
        )

    def is_applied(self, applied: Applied) -> bool:
        """The release that is wanted is the recorded one.

        While a Secret is missing the key tells nothing: without the owner's URL it is another one.
        """
        return self.differs_only_in_scale(applied) if self.missing else self.key == applied.key

    def differs_only_in_scale(self, applied: Applied) -> bool:
        """The recorded spec becomes this one by changing numbers of replicas, or ``paused``."""
        recorded = with_scale_of(SwitchboardSpec.recorded(applied.spec), self.spec)
        return recorded.model_copy(update={"paused": self.spec.paused}) == self.spec

    def is_recorded(self, applied: Applied) -> bool:
        """The recorded spec is this one."""
        return SwitchboardSpec.recorded(applied.spec) == self.spec


def _images(spec: SwitchboardSpec) -> dict[str, str]:
    return {role: spec.image(role) for role in ("api", "worker", "recorder")}


def _what_passes(spec: SwitchboardSpec) -> dict[str, object]:
    return {
        "version": spec.version,
        "images": _images(spec),
        "migrate": spec.image("migrate"),
        "appRole": spec.database.app_role,
    }


def _has_passed(spec: SwitchboardSpec, migration_secret: str, applied: Applied) -> bool:
    recorded = SwitchboardSpec.recorded(applied.spec)
    return migration_secret == applied.migration_secret and _what_passes(spec) == _what_passes(recorded)
