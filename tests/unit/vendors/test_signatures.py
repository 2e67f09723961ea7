"""A reply counts as signed if the chain, the domain, the time and the signature over the body are valid."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from include.dsar.errors import ProtocolError
from include.dsar.http.messages import HttpReply
from include.dsar.vendors.signatures import Signer

NOW = datetime(2026, 11, 25, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAIN = "dsr.example.com"
BODY = b'{"subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798"}'
PREFIXES = ("x-opendsr-", "x-opengdpr-")
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key."""

    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, body: bytes) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            raw = self.key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(self.key, ec.EllipticCurvePrivateKey):
            raw = self.key.sign(body, ec.ECDSA(hashes.SHA256()))
        else:
            raw = self.key.sign(body)
        return base64.b64encode(raw).decode()


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    key: Key | None = None,
    domains: Sequence[str] = (DOMAIN,),
    first: datetime = NOW - DAY,
    last: datetime = NOW + DAY,
    is_authority: bool = False,
) -> Issued:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = issuer.key if issuer else key
    usage = {
        name: name in (("key_cert_sign", "crl_sign") if is_authority else ("digital_signature",))
        for name in (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        )
    }  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
    )
    if domains and not is_authority:
        names = x509.SubjectAlternativeName([x509.DNSName(one) for one in domains])
        builder = builder.add_extension(names, critical=False)
    return Issued(key, builder.sign(signing, hashes.SHA256()))


ROOT = issue("root", is_authority=True, first=NOW - 1000 * DAY, last=NOW + 1000 * DAY)
MIDDLE = issue("middle", ROOT, is_authority=True)
LEAF = issue("leaf", MIDDLE, key=rsa.generate_private_key(65537, 2048))
SIGNER = Signer(DOMAIN, LEAF.pem + MIDDLE.pem, ROOT.pem)


def reply(body: bytes = BODY, by: Issued = LEAF, **headers: str) -> HttpReply:
    """Returns a reply with the signature of `by` over BODY. The reply may have another body."""
    given = {"x-opendsr-signature": by.sign(BODY), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return HttpReply(200, body, {name: value for name, value in given.items() if value})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_opendsr_processor_domain": "DSR.example.com"},
        {"x_opendsr_signature": "", "x_opengdpr_signature": LEAF.sign(BODY)},
    ],
)
def test_a_signed_reply(headers: dict[str, str]) -> None:
    """The old and the new name of the signature header are accepted."""
    SIGNER.verify(reply(**headers), PREFIXES, NOW)


@pytest.mark.parametrize(
    "leaf",
    [
        issue("ec", MIDDLE),
        issue("wildcard", MIDDLE, domains=["*.example.com"]),
        issue("two", MIDDLE, domains=["other.example", DOMAIN]),
    ],
)
def test_a_trusted_certificate(leaf: Issued) -> None:
    """RSA and elliptic curves, wildcards and additional names are accepted."""
    replace(SIGNER, chain=leaf.pem + MIDDLE.pem).verify(reply(by=leaf), PREFIXES, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "by", "problem"),
    [
        ({"x_opendsr_signature": ""}, BODY, LEAF, "no signature"),
        ({"x_opengdpr_signature": "AAAA"}, BODY, LEAF, "more than one"),
        ({"x_opendsr_processor_domain": "evil.example"}, BODY, LEAF, "another domain"),
        ({"x_opendsr_signature": "not base64!"}, BODY, LEAF, "signature of the reply is wrong"),
        ({}, BODY + b" ", LEAF, "signature of the reply is wrong"),
        ({}, BODY, MIDDLE, "signature of the reply is wrong"),
    ],
)
def test_a_reply_that_is_not_signed(headers: dict[str, str], body: bytes, by: Issued, problem: str) -> None:
    """A reply is not accepted if its signature is missing, repeated, wrong or from another signer."""
    with pytest.raises(ProtocolError, match=problem):
        SIGNER.verify(reply(body, by, **headers), PREFIXES, NOW)


OTHER_ROOT = issue("other", is_authority=True)
EXPIRED = issue("old", MIDDLE, last=NOW - DAY / 2)


@pytest.mark.parametrize(
    ("chain", "problem"),
    [
        ("", "is not PEM text"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
        (EXPIRED.pem + MIDDLE.pem, "is valid from 2026-11-24 to 2026-11-24, and today is 2026-11-25"),
        (issue("new", MIDDLE, first=NOW + DAY / 2).pem + MIDDLE.pem, "is valid from"),
        (issue("x", MIDDLE, domains=["dsr.example.org"]).pem + MIDDLE.pem, "is not issued for dsr"),
        (issue("unnamed", MIDDLE, domains=[]).pem + MIDDLE.pem, "is not issued for"),
        (LEAF.pem, "its chain is incomplete"),
        (issue("foreign", OTHER_ROOT).pem, "by a trusted authority"),
        (issue("foreign", OTHER_ROOT).pem + OTHER_ROOT.pem, "by a trusted authority"),
        (issue("alone").pem, "by a trusted authority"),
    ],
)
def test_a_certificate_that_is_not_trusted(chain: str, problem: str) -> None:
    """The error says whether the time, the domain or the chain is the problem."""
    signer = replace(SIGNER, chain=chain)
    with pytest.raises(ValueError, match=problem):
        signer.certificate(NOW)
    with pytest.raises(ProtocolError):
        signer.verify(reply(), PREFIXES, NOW)


def test_another_kind_of_key_signs_nothing() -> None:
    """A signature with another type of key is refused. The protocol has only RSA and elliptic curves."""
    key = ed25519.Ed25519PrivateKey.generate()
    odd = issue("ed", MIDDLE, key=key)
    with pytest.raises((ProtocolError, ValueError)):
        replace(SIGNER, chain=odd.pem + MIDDLE.pem).verify(reply(by=odd), PREFIXES, NOW)


def test_public_authorities_are_trusted_without_a_setting() -> None:
    """The certifi list can be loaded, although some of its roots use an old format."""
    with pytest.raises(ValueError, match="by a trusted authority"):
        replace(SIGNER, authority=None).certificate(NOW)
