"""A certificate authority of one test session, a server certificate for loopback, and a key for tokens."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: the certificate that clients trust.
        server: certificate of the API server.
        server_key: its key.
        token_key: signs the tokens of service accounts.
    """

    authority: Path
    server: Path
    server_key: Path
    token_key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make everything anew in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, server_key, token_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    issuer = _name("switchboard-tests")
    authority = (
        _builder(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    loopback = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    )
    server = (
        _builder(_name("kube-apiserver"), issuer, server_key.public_key())
        .add_extension(loopback, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    found = Certificates(
        authority=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        token_key=folder / "tokens.key",
    )
    found.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    found.server.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    _write_key(found.server_key, server_key)
    _write_key(found.token_key, token_key)
    return found


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # The clocks of a laptop and of its virtual machine may differ by minutes.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
