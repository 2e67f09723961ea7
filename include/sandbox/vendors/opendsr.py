"""OpenDSR, a protocol of several processors: access and erasure, one data subject per call, signed replies.

Source: https://github.com/opengdpr/OpenDSR (specification). If the id of a request already exists, the
reply is a 400, as at mParticle. The protocol has no failed state, so a job with the keyword ``jobfails``
ends cancelled. Only this vendor has the keyword ``forged``. After a job with this keyword has ended,
replies about its status are signed with another key.

The keys are constants, so that the certificates of all processes match. They protect nothing.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from include.sandbox.jobs import Job
from include.sandbox.vendor import Call, Refused, Route, SandboxVendor, json_response

DOMAIN = "processor.example"
TYPES = {"access": "access", "portability": "access", "erasure": "erasure"}
PENDING_UNTIL = 0.3
"""Share of a job's duration in which it is pending and can be cancelled."""
AUTHORITY_KEY, PROCESSOR_KEY, OTHER_KEY = (ec.derive_private_key(n, ec.SECP256R1()) for n in (1, 2, 3))
MESSAGES = {
    400: "subject_request_id field is required",
    401: "Unauthorized",
    404: "Subject request not found",
    409: "There is an in progress request with the same identities",
}


def create(call: Call) -> web.Response:
    """``POST /requests``"""
    _authorise(call)
    body = call.json_object() or {}
    action = TYPES.get(str(body.get("subject_request_type")))
    job_id, identities = str(body.get("subject_request_id")), body.get("subject_identities")
    if action is None or not _is_uuid4(job_id) or not isinstance(identities, list) or not identities:
        raise Refused(error(400))
    given = [(str(one["identity_type"]), str(one["identity_value"])) for one in identities]
    if call.find_job(job_id):
        raise Refused(_error(400, "Subject request already exists."))
    if any(call.now() < job.ends_at for kind, value in given for job in call.jobs_of(kind, value)):
        raise Refused(error(409))
    if call.decide(action, [value for _, value in given]).outcome == "refused":
        raise Refused(_error(400, f"identity {given[0][1]} is not valid"))
    job = call.add_job(action, given, job_id, details={"format": str(identities[0]["identity_format"])})
    return _signed({**_common(job), "encoded_request": base64.b64encode(call.body).decode()}, 201)


def status(call: Call) -> web.Response:
    """``GET /requests/{id}``"""
    job = _find(call)
    has_ended = call.now() >= job.ends_at
    shown: dict[str, object] = {**_common(job), "request_status": _status(call, job), "api_version": "1.0"}
    if has_ended and job.action == "access" and job.outcome == "no_data":
        shown |= {"results_url": None, "results_count": 0}
    elif job.action == "access":  # the protocol's own sample has an address while the job is pending
        url = call.request.url.origin() / "opendsr-data" / f"{job.job_id}.json"
        shown |= {"results_url": str(url), "results_count": 1}
    is_forged = has_ended and any("forged" in value for value in job.values)
    return _signed(shown, 200, OTHER_KEY if is_forged else PROCESSOR_KEY)


def cancel(call: Call) -> web.Response:
    """``DELETE /requests/{id}``, while the job is pending."""
    job = _find(call)
    if _status(call, job) != "pending":
        raise Refused(_error(400, "Only a pending request can be cancelled."))
    call.jobs.add(replace(job, outcome="failed", seconds=call.now() - job.created_at))
    return _signed(_common(job), 202)


def discovery(call: Call) -> web.Response:
    """``GET /discovery``. It is public and not signed."""
    identities = [
        {"identity_type": kind, "identity_format": form}
        for kind in ("email", "controller_customer_id", "ios_advertising_id", "android_advertising_id")
        for form in ("raw", "sha256")
    ]
    return json_response(
        {
            "api_version": "1.0",
            "supported_identities": identities,
            "supported_subject_request_types": list(TYPES),
            "processor_certificate": f"https://{DOMAIN}/cert.pem",
        }
    )


def data(call: Call) -> web.Response:
    """Returns the result at ``results_url``. The route simulates a store that refuses Bearer credentials."""
    job = call.find_job(call.job_id)
    if "Authorization" in call.request.headers:
        return web.Response(status=400, text="InvalidArgument")
    if job is None or job.action != "access" or _status(call, job) != "completed":
        return web.Response(status=404, text="NoSuchKey")
    return json_response({subject.kind: subject.value for subject in job.subjects} | {"nickname": "Zoë ☂"})


def error(status: int) -> web.Response:
    return _error(status, MESSAGES.get(status, "Error"))


def _error(status: int, message: str) -> web.Response:
    details = {"domain": "Validation", "reason": "InvalidOperationException", "message": message}
    return json_response({"error": {"code": status, "message": message, "errors": [details]}}, status)


def _authorise(call: Call) -> None:
    if not call.has_bearer_secret():
        raise Refused(error(401))


def _find(call: Call) -> Job:
    _authorise(call)
    job = call.find_job(call.job_id)
    if job is None:
        raise Refused(error(404))
    return job


def _status(call: Call, job: Job) -> str:
    now = call.now()
    if now >= job.ends_at:
        return "cancelled" if job.outcome == "failed" else "completed"
    is_pending = job.seconds is None or now < job.created_at + job.seconds * PENDING_UNTIL
    return "pending" if is_pending else "in_progress"


def _common(job: Job) -> dict[str, object]:
    return {
        "controller_id": "sandbox-controller",
        "subject_request_id": job.job_id,
        "received_time": _time(job.created_at),
        "expected_completion_time": _time(job.created_at + 30 * 86_400),
    }


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_uuid4(text: str) -> bool:
    try:
        return uuid.UUID(text).version == 4 and text == text.lower()
    except ValueError:
        return False


def _signed(body: object, status: int, key: ec.EllipticCurvePrivateKey = PROCESSOR_KEY) -> web.Response:
    content = json.dumps(body, ensure_ascii=False).encode()
    signature = base64.b64encode(key.sign(content, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {"X-OpenDSR-Processor-Domain": DOMAIN, "X-OpenDSR-Signature": signature}
    return web.Response(body=content, status=status, content_type="application/json", headers=headers)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> str:
    """Returns a certificate as PEM text, signed by the sandbox's authority and valid for ten years."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if is_authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    else:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(AUTHORITY_KEY.public_key())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(issuer, critical=False).add_extension(names, critical=False)
    return builder.sign(AUTHORITY_KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


VENDOR = SandboxVendor(
    name="opendsr",
    actions=frozenset({"access", "erasure"}),
    extra={
        "processor_domain": DOMAIN,
        "processor_certificate": _certificate(DOMAIN, PROCESSOR_KEY, is_authority=False),
        "certificate_authority": _certificate("Sandbox authority", AUTHORITY_KEY, is_authority=True),
    },
    routes=(
        Route("POST", "/requests", "create", create),
        Route("GET", "/requests/{job_id}", "status", status),
        Route("DELETE", "/requests/{job_id}", "cancel", cancel),
        Route("GET", "/discovery", "me", discovery),
        Route("GET", "/opendsr-data/{job_id}.json", "data", data),
    ),
    error=error,
    reply=_signed,
)
