"""What could not be read, so that the rest is shown all the same."""

from dataclasses import dataclass, field

from kubectl_switchboard.errors import ClusterError, ForbiddenError


@dataclass(frozen=True)
class Gap:
    """Something that could not be read.

    Attributes:
        what: in words.
        needs: the right that is missing, as RBAC names it (``list pods``); empty where rights are not the reason.
        reason: what was answered.
    """

    what: str
    needs: str
    reason: str

    @property
    def words(self) -> str:
        """What is missing and why, without a full stop."""
        return f"{self.what} (needs: {self.needs})" if self.needs else f"{self.what} ({self.reason.rstrip('.')})"


@dataclass
class Gaps:
    """Collects what is missing."""

    found: list[Gap] = field(default_factory=list)

    def note(self, what: str, right: str, error: ClusterError) -> None:
        """Note that something is missing.

        Args:
            what: in words.
            right: that reading it takes.
            error: why it was not read.
        """
        self.found.append(Gap(what, right if isinstance(error, ForbiddenError) else "", str(error)))
