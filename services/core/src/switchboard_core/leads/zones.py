"""Names of time zones."""

import zoneinfo
from functools import lru_cache

# Files of the zone database that name no place of the world.
_NOT_PLACES = frozenset({"Factory", "localtime", "posixrules"})


class ZoneError(ValueError):
    """Not the name of a time zone."""


def require_zone(name: str) -> str:
    """The zone's name as the IANA database spells it, whatever the case of ``name``.

    Raises:
        ZoneError: there is no such zone.
    """
    try:
        return _zones()[name.strip().lower()]
    except KeyError:
        msg = f"{name[:40]!r} is no time zone; use an IANA name such as America/New_York or Europe/London"
        raise ZoneError(msg) from None


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    return {name.lower(): name for name in zoneinfo.available_timezones() - _NOT_PLACES}
