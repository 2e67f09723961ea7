"""The connection to an OpenDSR processor: its fields, and the values that are computed from them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from include.dsar.model import IdentityKind
from include.dsar.vendors.fields import ConnectionField, FieldKind

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings
    from include.dsar.vendors.signatures import Signer

IDENTITY_TYPES = {IdentityKind.EMAIL: "email", IdentityKind.USER_ID: "controller_customer_id"}
OWN_BODY = frozenset({"subject_request_id", "subject_request_type", "subject_identities", "submitted_time"})
PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
HEADER = re.compile(r"[A-Za-z0-9-]+")
DIGESTS = ("sha256", "sha1", "md5")

FIELDS = (
    ConnectionField(
        "path", "Path", "Path of the requests below Host, such as /opengdpr_requests.",
        FieldKind.TEXT, default="/requests",
    ),
    ConnectionField(
        "authentication", "Authentication", "bearer: Password is a token. basic: Password is name:password. "
        "header: the processor wants Password as it is, such as an API key.",
        FieldKind.CHOICE, default="bearer", choices=("bearer", "basic", "header"),
    ),
    ConnectionField(
        "authentication_header", "Header", "The header that contains Password. Change it if the processor "
        "documents another one, such as X-Api-Key.",
        FieldKind.TEXT, default="Authorization",
    ),
    ConnectionField(
        "identity_types", "Identity types", "The processor's type for each of our kinds, as a JSON object. "
        'Needed for kinds besides email and user_id, such as {"advertising_id": "ios_advertising_id"}.',
        FieldKind.OBJECT, empty="email as email, user_id as controller_customer_id",
    ),
    ConnectionField(
        "identity_format", "Identity format",
        "raw: identifiers are sent as they are. Choose a digest if the processor knows only this digest.",
        FieldKind.CHOICE, default="raw", choices=("raw", *DIGESTS),
    ),
    ConnectionField(
        "access_type", "Type of access requests",
        "What an access request asks for. Choose portability if the processor does not support access.",
        FieldKind.CHOICE, default="access", choices=("access", "portability"),
    ),
    ConnectionField(
        "regulation", "Regulation", "send: each request names its law, such as gdpr. Choose omit if the "
        "processor refuses this field, which version 1.0 of the protocol does not have.",
        FieldKind.CHOICE, default="send", choices=("send", "omit"),
    ),
    ConnectionField(
        "api_version", "API version",
        "The version of the protocol, such as 2.0. Needed if the processor demands it.", empty="not sent",
    ),
    ConnectionField(
        "extra_body", "Extra fields", 'Fields that this processor demands in each request, as a JSON object, '
        'such as {"property_id": "app"}.',
        FieldKind.OBJECT,
    ),
    ConnectionField(
        "signature", "Signatures", "required: a reply without a valid signature is not accepted. "
        "Choose off only if the processor does not sign its replies.",
        FieldKind.CHOICE, default="required", choices=("required", "off"),
    ),
    ConnectionField(
        "processor_domain", "Processor domain", "The domain of the processor's certificate. Needed if "
        "it is not Host.", empty="Host"
    ),
    ConnectionField(
        "processor_certificate", "Processor certificate",
        "The processor's chain as PEM text, its own certificate first. Needed if signatures are required.",
        FieldKind.TEXT,
    ),
    ConnectionField(
        "certificate_authority", "Certificate authority",
        "PEM text of the authority that issued this certificate. Needed if the authority is not public.",
        FieldKind.TEXT,
    ),
)  # fmt: skip


def check_fields(settings: AccountSettings, identities: Sequence[IdentityKind]) -> None:
    """Raises ValueError if a field is not valid, or if two fields contradict each other."""
    fields, types = settings.fields, identity_types(settings)
    if not PATH.fullmatch(fields["path"]):
        raise ValueError("path in Extra: must begin with / and contain no ? or #")
    if not HEADER.fullmatch(fields["authentication_header"]):
        raise ValueError("authentication_header in Extra: must be the name of a header")
    if untyped := [kind for kind in identities if not isinstance(types.get(kind), str)]:
        raise ValueError(f"identity_types in Extra: has no type for {', '.join(untyped)}")
    if replaced := OWN_BODY & (fields["extra_body"] or {}).keys():
        raise ValueError(f"extra_body in Extra: must not contain {', '.join(sorted(replaced))}")
    if fields["signature"] == "required" and not fields["processor_certificate"]:
        raise ValueError("processor_certificate is missing in Extra, and signatures are required")
    if one := signer(settings):
        try:
            one.certificate(datetime.now(UTC))
        except ValueError as error:
            raise ValueError(f"processor_certificate in Extra {error}") from None


def headers(settings: AccountSettings) -> dict[str, str]:
    """Returns the headers of every call."""
    secret = settings.secret
    value = {
        "bearer": f"Bearer {secret}",
        "basic": f"Basic {base64.b64encode(secret.encode()).decode()}",
        "header": secret,
    }[settings.fields["authentication"]]
    # A signature is over the body before any Content-Encoding.
    return {
        settings.fields["authentication_header"]: value,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


def identity_types(settings: AccountSettings) -> Mapping[str, Any]:
    """Returns the processor's identity type for each of our kinds of identifiers."""
    return {**IDENTITY_TYPES, **(settings.fields["identity_types"] or {})}


def signer(settings: AccountSettings) -> Signer | None:
    """Returns the processor that must sign the replies. None if signatures are off."""
    from include.dsar.vendors.signatures import Signer  # slow to import, and for OpenDSR only

    fields = settings.fields
    if fields["signature"] == "off":
        return None
    domain = fields["processor_domain"] or urlsplit(settings.base_url).hostname
    return Signer(str(domain).lower(), fields["processor_certificate"], fields["certificate_authority"])
