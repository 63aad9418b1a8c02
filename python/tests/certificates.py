"""Certificates for the tests of TLS, each in a file of its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes

_NAMES = ("localhost", "127.0.0.1", "::1")


class Pair(NamedTuple):
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def options(self) -> str:
        """The options of an address that shows it."""
        return f"cert={self.cert}&key={self.key}"

    @property
    def fingerprint(self) -> str:
        """What the option ``fingerprint`` knows it by."""
        certificate = x509.load_pem_x509_certificate(self.cert.read_bytes())
        return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


class Certificates:
    """An issuer that tests believe, and what it has issued."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._issuer, self._stranger = trustme.CA(), trustme.CA()
        self.ca, self.other_ca = folder / "ca.pem", folder / "other-ca.pem"
        self._issuer.cert_pem.write_to_path(self.ca)
        self._stranger.cert_pem.write_to_path(self.other_ca)
        self.server = self._keep("server", self._issuer.issue_cert(*_NAMES))
        self.client = self._keep("client", self._issuer.issue_cert("client@example.org"))
        self.elsewhere = self._keep("elsewhere", self._issuer.issue_cert("elsewhere.example"))
        expired = datetime.now(UTC) - timedelta(days=3)
        self.expired = self._keep("expired", self._issuer.issue_cert(*_NAMES, not_after=expired))
        self.strange = self._keep("strange", self._stranger.issue_cert(*_NAMES))

    def _keep(self, name: str, issued: trustme.LeafCert) -> Pair:
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        issued.private_key_pem.write_to_path(pair.key)
        pair.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return pair
