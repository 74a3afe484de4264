"""Why a migration did not happen, each in one sentence that says what to do."""


class MigrationError(Exception):
    """A migration did not happen; the message is meant for people."""


class DatabaseUnreachable(MigrationError):  # noqa: N818 - named after what happened, as all of this module
    """The owner's connection could not be made."""


class IncompatibleSchema(MigrationError):  # noqa: N818
    """This release and the schema are too far apart, or the phases are in the wrong order; nothing was touched."""


class MigrationLockNotObtained(MigrationError):  # noqa: N818
    """Another session held the migration lock for the whole time; nothing was touched."""


class AppRoleUnsuitable(MigrationError):  # noqa: N818
    """The application's role is missing, or row-level security would not apply to it; nothing was touched."""


class MigrationFailed(MigrationError):  # noqa: N818
    """A revision failed; the revisions before it stay, and running again goes on from there.

    Attributes:
        revision: the revision that failed.
        sentence: what happened and what to do.
    """

    def __init__(self, revision: str, sentence: str) -> None:
        super().__init__(sentence)
        self.revision = revision
        self.sentence = sentence
