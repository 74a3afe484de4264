"""The Alembic environment of the schema; run it through ``switchboard migrate``, never through ``alembic`` itself.

Two branches. **expand** revisions (``101``, ``102``, …) only add and run before a release rolls out; **contract**
revisions (``c101``, …) remove what the release before no longer uses and run once no old pod is left. A revision that
is released is frozen: a change of mind is a new revision.
"""

from typing import NoReturn


class DowngradeNotSupportedError(Exception):
    """Somebody asked Alembic to go back."""


def refuse_downgrade(revision: str) -> NoReturn:
    """Every revision's ``downgrade``.

    Args:
        revision: the revision that was to be undone.

    Raises:
        DowngradeNotSupportedError: always.
    """
    msg = (
        f"Migration {revision} cannot be undone: the release before runs on the newer schema as it is, "
        "so roll back the images and leave the database alone."
    )
    raise DowngradeNotSupportedError(msg)
