"""Sample closed requests and their collected files."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

from include.dsar.delivery.package import write_package
from include.dsar.model import (
    AccountRecord,
    Action,
    CollectedFile,
    RequestRecord,
    State,
    Status,
    SubmissionRecord,
)
from include.regulations import REGULATIONS

RECEIVED = datetime(2026, 2, 25, 15, 22, 42, tzinfo=UTC)
CLOSED = datetime(2026, 3, 4, 9, 5, 7, 123456, tzinfo=UTC)

BESITOS: dict[str, Any] = {
    "status": True,
    "sub_id": None,
    "balance": "0.00",
    "country_id": 1,
    "partner_user_id": "sampleuser1",
    "payout_records": '[{"amount":10,"status":5,"processed_at":"2024-11-08T16:44:48.000000Z"}]',
    "enrolled_offers": [],
    "device_platforms_used": ["android", "ios"],
    "activity_summary": {"last_activity_timestamp": "2026-02-25 10:22:21"},
}


class Delivery:
    """A sample request. A test adds accounts one by one."""

    def __init__(self, action: Action = Action.ACCESS) -> None:
        self.action = action
        self.contents: dict[str, bytes] = {}
        self.accounts: list[AccountRecord] = []

    def account(
        self,
        account: str,
        *files: tuple[str, bytes],
        vendor: str | None = None,
        outcome: State | Status = State.COMPLETED,
        reason: str | None = None,
    ) -> Delivery:
        submissions = tuple(
            SubmissionRecord(
                "user_id", State.COMPLETED, None, "job-1", RECEIVED, CLOSED, 1, self._file(account, *file)
            )
            for file in files
        ) or (SubmissionRecord("email+phone", State.NOT_APPLICABLE, reason, None, None, None, 0),)
        self.accounts.append(AccountRecord(account, vendor or account, outcome, reason, submissions))
        return self

    def _file(self, account: str, name: str, content: bytes) -> CollectedFile:
        path = f"collected/{account}/{len(self.contents)}"
        self.contents[path] = content
        return CollectedFile(path, name, hashlib.sha256(content).hexdigest(), len(content))

    @property
    def request(self) -> RequestRecord:
        return RequestRecord(
            1, "DSAR-42", self.action, "GDPR", RECEIVED, CLOSED, Status.COMPLETED, None,
            tuple(self.accounts), REGULATIONS["GDPR"].law(self.action),
        )  # fmt: skip

    def package(self) -> bytes:
        target = io.BytesIO()
        write_package(target, self.request, CLOSED, lambda file: io.BytesIO(self.contents[file.path]))
        return target.getvalue()

    def unpacked(self) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.package())) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}

    def page(self) -> str:
        return self.unpacked()["index.html"].decode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def zipped(members: dict[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()
