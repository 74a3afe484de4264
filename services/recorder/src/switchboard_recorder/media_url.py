"""Which URLs the recorder may fetch: the carrier's own, and the hosts that the carrier is known to redirect to.

The URL of a recording arrives in a webhook and is stored; without this check whoever forges one could make the
recorder fetch from inside the network, or send the carrier's credentials to a host of their choice.
"""

from dataclasses import dataclass

import httpx

from switchboard_recorder.download_errors import UrlNotAllowedError


@dataclass(frozen=True, slots=True)
class MediaUrlPolicy:
    """The places that recordings may come from.

    Attributes:
        carrier: base URL of the carrier; scheme, host and port must match, and only it is sent credentials.
        media_hosts: other hosts (``host`` or ``host:port``) that the carrier may redirect to.
    """

    carrier: httpx.URL
    media_hosts: frozenset[tuple[str, int | None]]

    @classmethod
    def create(cls, allowed_base: str, media_hosts: tuple[str, ...] = ()) -> "MediaUrlPolicy":
        """Build the policy from settings.

        Args:
            allowed_base: ``TWILIO_BASE_URL``.
            media_hosts: ``TWILIO_MEDIA_HOSTS``.
        """
        carrier = httpx.URL(allowed_base)
        # httpx.URL drops the scheme's default port, here and in what is compared with it.
        hosts = (httpx.URL(f"{carrier.scheme}://{entry}") for entry in media_hosts)
        return cls(carrier, frozenset((host.host, host.port) for host in hosts))

    def recording(self, url: str) -> httpx.URL:
        """Return the address of a recording's WAV file, from the ``RecordingUrl`` of the carrier's webhook.

        Raises:
            UrlNotAllowedError: it does not lead to the carrier.
        """
        media = self._parse(url)
        if not self.is_carrier(media):
            msg = (
                f"The recording is at {_place(media)}, but recordings are only fetched from {_place(self.carrier)}: "
                "correct TWILIO_BASE_URL if that is your carrier."
            )
            raise UrlNotAllowedError(msg)
        path = media.path
        return media if path.endswith((".wav", ".mp3")) else media.copy_with(path=f"{path}.wav")

    def redirect(self, source: httpx.URL, location: str) -> httpx.URL:
        """Return where a redirect leads.

        Raises:
            UrlNotAllowedError: it leads to another host than those known, or from https to http.
        """
        target = self._parse(location, base=source)
        secure_enough = target.scheme == "https" or target.scheme == self.carrier.scheme
        known = self.is_carrier(target) or (target.host, target.port) in self.media_hosts
        if not (secure_enough and known):
            msg = (
                f"The carrier redirects the recording to {_place(target)}, which is not allowed: "
                "add its host to TWILIO_MEDIA_HOSTS if it belongs to your carrier."
            )
            raise UrlNotAllowedError(msg)
        return target

    def is_carrier(self, url: httpx.URL) -> bool:
        """Tell whether a URL has the carrier's scheme, host and port; only then may it be sent credentials."""
        return (url.scheme, url.host, url.port) == (self.carrier.scheme, self.carrier.host, self.carrier.port)

    @staticmethod
    def _parse(url: str, base: httpx.URL | None = None) -> httpx.URL:
        try:
            parsed = (base.join(url) if base else httpx.URL(url)).copy_with(fragment=None)
        except (httpx.InvalidURL, TypeError, ValueError):
            msg = f"The recording's address {url[:100]!r} is not a URL."
            raise UrlNotAllowedError(msg) from None
        if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
            msg = f"The recording's address at {_place(parsed)} is not a plain http(s) URL."
            raise UrlNotAllowedError(msg)
        return parsed


def _place(url: httpx.URL) -> str:
    """Scheme, host and port: all of a URL that may be shown, since its path and query can hold secrets."""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}"
