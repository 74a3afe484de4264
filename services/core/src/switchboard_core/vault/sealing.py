"""Encryption of secrets at rest, with keys that can be changed.

Fernet (AES-128-CBC with HMAC-SHA-256) of the ``cryptography`` package. The newest key of ``CREDENTIALS_KEYS`` seals;
every key in it opens. Business and kind are sealed in, so a row that was copied to another tenant opens nothing.
"""

import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr


class KeysMissingError(Exception):
    """No key is configured, so no secret can be kept."""


class UnreadableSecretError(Exception):
    """None of the keys opens the secret, or it is not this business's."""


def new_key() -> str:
    """A fresh key for ``CREDENTIALS_KEYS``."""
    return Fernet.generate_key().decode()


class Sealer:
    """Seals and opens secrets.

    Args:
        keys: newest first; each is 32 bytes in URL-safe base64, as ``new_key`` makes them.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = [Fernet(key.get_secret_value()) for key in keys]

    def seal(self, business_id: int, kind: str, secret: dict[str, Any]) -> bytes:
        """Encrypt a secret.

        Raises:
            KeysMissingError: there is no key.
        """
        content = json.dumps({"business_id": business_id, "kind": kind, "secret": secret}).encode()
        return self._all().encrypt(content)

    def open(self, business_id: int, kind: str, sealed: bytes) -> dict[str, Any]:
        """Decrypt a secret.

        Raises:
            KeysMissingError: there is no key.
            UnreadableSecretError: the key that sealed it is gone, or it belongs to somebody or something else.
        """
        try:
            content = json.loads(self._all().decrypt(sealed))
        except InvalidToken:
            msg = (
                "A stored secret cannot be opened: none of CREDENTIALS_KEYS is the key that sealed it. "
                "Put the old key back at the end of the list, or connect the account again."
            )
            raise UnreadableSecretError(msg) from None
        if (content["business_id"], content["kind"]) != (business_id, kind):
            msg = "A stored secret is not this business's: connect the account again."
            raise UnreadableSecretError(msg)
        secret: dict[str, Any] = content["secret"]
        return secret

    def reseal(self, sealed: bytes) -> bytes | None:
        """The same secret under the newest key; None when it is sealed with that already.

        Raises:
            KeysMissingError: there is no key.
            UnreadableSecretError: the key that sealed it is gone.
        """
        keys = self._all()
        try:
            self._keys[0].decrypt(sealed)
        except InvalidToken:
            pass
        else:
            return None
        try:
            return keys.rotate(sealed)
        except InvalidToken:
            msg = "A stored secret cannot be opened with any of CREDENTIALS_KEYS."
            raise UnreadableSecretError(msg) from None

    def _all(self) -> MultiFernet:
        if not self._keys:
            msg = (
                "This installation cannot keep secrets yet: set CREDENTIALS_KEYS "
                "(`switchboard credentials new-key` makes one) for api and workers."
            )
            raise KeysMissingError(msg)
        return MultiFernet(self._keys)
