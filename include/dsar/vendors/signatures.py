"""Checks that the processor signed the body of a reply. No I/O.

The certificate must chain to a public certificate authority, or to an authority that the connection names.
The certificate must be issued for the domain and be valid now. Revocation is not checked.
"""

from __future__ import annotations

import base64
import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import verification

from include.dsar.errors import ProtocolError
from include.dsar.http.messages import HttpReply

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
MAX_CHAIN = 8


@dataclass(frozen=True)
class Signer:
    """The processor that must have signed a reply."""

    domain: str
    chain: str  # PEM text, the processor's own certificate first
    authority: str | None = None  # PEM text of authorities to trust besides the public ones

    def verify(self, reply: HttpReply, header_prefixes: Sequence[str], now: datetime) -> None:
        """Raises ProtocolError if this processor did not sign the reply. The text says why.

        Each prefix is the start of two header names: `<prefix>signature` and `<prefix>processor-domain`.
        """
        headers = reply.headers
        signatures = {headers[f"{p}signature"] for p in header_prefixes if f"{p}signature" in headers}
        domains = {headers.get(f"{p}processor-domain", self.domain).lower() for p in header_prefixes}
        if len(signatures) != 1:
            raise ProtocolError("the reply has no signature, or more than one")
        if domains != {self.domain}:
            raise ProtocolError("the reply is signed for another domain")
        try:
            certificate = self.certificate(now)
        except ValueError as error:
            raise ProtocolError(f"the processor's certificate {error}") from None
        if not _is_signed(certificate, signatures.pop(), reply.body):
            raise ProtocolError("the signature of the reply is wrong")

    def certificate(self, now: datetime) -> x509.Certificate:
        """Returns the processor's own certificate.

        Raises ValueError if the certificate is not trusted for the domain at this time. The text says why.
        """
        chain = _certificates(self.chain)
        if not chain:
            raise ValueError("is not PEM text")
        trusted = [*_public_authorities(), *(_certificates(self.authority or ""))]
        first, last = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
        if not first <= now <= last:
            raise ValueError(
                f"is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}, and today is {now:%Y-%m-%d}"
            )
        try:
            verifier = (
                verification.PolicyBuilder()
                .store(verification.Store(trusted))
                .time(now)
                .max_chain_depth(MAX_CHAIN)
                .build_server_verifier(x509.DNSName(self.domain))
            )
            verifier.verify(chain[0], list(chain[1:]))
        except (verification.VerificationError, ValueError):
            raise ValueError(
                f"is not issued for {self.domain} by a trusted authority, or its chain is incomplete"
            ) from None
        return chain[0]


def _is_signed(certificate: x509.Certificate, signature: str, body: bytes) -> bool:
    """Returns whether `signature` (base64) is valid for exactly these bytes with the certificate's key.

    Supports RSA with PKCS #1 v1.5 and ECDSA, both with SHA-256. Returns False for any other kind of key.
    """
    key = certificate.public_key()
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(raw, body, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(raw, body, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=64)
def _certificates(pem: str) -> Sequence[x509.Certificate]:
    """Reads the certificates in a PEM text. Raises ValueError if one of them cannot be read."""
    try:
        return tuple(map(_certificate, PEM.findall(pem)))
    except ValueError:
        raise ValueError("contains a certificate that cannot be read") from None


@functools.cache
def _public_authorities() -> Sequence[x509.Certificate]:
    found = []
    for pem in PEM.findall(certifi.contents()):
        try:
            found.append(_certificate(pem))
        except ValueError:  # an old root that `cryptography` no longer accepts must not break the others
            continue
    return tuple(found)


def _certificate(pem: str) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old root certificates
        return x509.load_pem_x509_certificate(pem.encode())
