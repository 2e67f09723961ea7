"""Puts collected results into storage, ready to be packaged: 20 kB per data subject, from two vendors."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from random import Random

from include.dsar.ledger import database
from tests.bench import deployment, source_rows

KINDS = 50  # data subjects with different data; the data of the others repeats
WORDS = ("cart_add", "search", "purchase", "level_up", "open", "crème brûlée", "3 Tiles: Match – Android")


def fill(url: str, folder: Path, count: int) -> None:
    """Add `count` access requests with ended submissions to the ledger, and write their files."""
    source_rows.insert(url, source_rows.access_at_two(count))
    deployment.take_in(url)
    answers = [{"besitos": ("json", record(kind)), "batch": ("zip", archive(kind))} for kind in range(KINDS)]
    with database.connect(url) as db:
        rows = db.execute(
            "SELECT s.id, s.account, r.id AS request, r.request_id FROM dsar.submission s"
            "  JOIN dsar.request r ON r.id = s.request WHERE s.state = 'planned'"
        ).fetchall()
        with db.cursor() as cursor:
            cursor.execute(
                "CREATE TEMP TABLE answer (id bigint, path text, name text, sha256 text, bytes bigint)"
            )
            with cursor.copy("COPY answer FROM STDIN") as copy:
                for row in rows:
                    suffix, content = answers[row["request"] % KINDS][row["account"]]
                    name = f"user_id_{row['id']}.{suffix}"
                    path = f"work/{row['request_id']}/{row['account']}/{name}"
                    target = folder / "storage" / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                    copy.write_row((row["id"], path, name, hashlib.sha256(content).hexdigest(), len(content)))
            cursor.execute(
                "UPDATE dsar.submission s SET state = 'completed', job_id = s.id::text, attempts = 1,"
                "       submitted_at = now(), finished_at = now(), file_path = a.path, file_name = a.name,"
                "       file_sha256 = a.sha256, file_bytes = a.bytes FROM answer a WHERE s.id = a.id"
            )


def record(kind: int) -> bytes:
    """Returns a record like those in a Besitos export: some fields and lists of activities."""
    random = Random(kind)
    offers = [
        {
            "offer_id": f"{random.getrandbits(60):x}",
            "offer_name": random.choice(WORDS),
            "enrolled_at": _moment(random),
            "payout": f"{random.randrange(1000) / 100:.2f}",
        }
        for _ in range(72)
    ]
    payouts = [
        {"amount": "10.00", "status": random.randrange(6), "processed_at": _moment(random)} for _ in range(16)
    ]
    fields = {
        "partner_user_id": f"u-{kind:08}",
        "email_address": f"ada.lovelace.{kind}@example.com",
        "balance": "0.00",
        "country_id": 1,
        "activity_summary": {"last_activity_timestamp": _moment(random), "sessions": random.randrange(900)},
        "device_platforms_used": ["android", "ios"],
    }
    return json.dumps({**fields, "enrolled_offers": offers, "payout_records": payouts}).encode()


def archive(kind: int) -> bytes:
    """Returns a zip like a Batch download, with JSON and CSV."""
    random = Random(kind + 1_000_000)
    installs = [
        {"install_id": f"{random.getrandbits(128):032x}", "os": "android", "first_seen": _moment(random)}
        for _ in range(12)
    ]
    events = [f"{_moment(random)},{random.choice(WORDS)},{random.getrandbits(80):x}" for _ in range(140)]
    messages = [f"{_moment(random)},Soldes d'été,{random.choice(('true', 'false'))}" for _ in range(30)]
    profile = {
        "custom_id": f"u-{kind:08}",
        "language": "fr",
        "attributes": {"nickname": "Zoë", "score": "007"},
    }
    files = {
        "profile.json": json.dumps(profile),
        "installs.json": json.dumps(installs),
        "events.csv": "\n".join(["date,name,label", *events]),
        "inbox/messages.csv": "\n".join(["sent_at,campaign,opened", *messages]),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def _moment(random: Random) -> str:
    return f"2026-{random.randrange(1, 13):02}-{random.randrange(1, 29):02} {random.randrange(24):02}:15:31"
