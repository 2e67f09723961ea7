"""The sentences of the report: one for each action that an operator must take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC

from include.dsar.ledger.attention import NEAR, Attention, Item, loud

IDS_PER_SENTENCE = 10

OVERDUE = (
    "Past the legal due date: {requests}. Ask the vendors that have not answered. "
    "Tell the data subjects why it takes longer (GDPR Art. 12(3), CCPA regulations § 7021(b))."
)
NEAR_DUE = (
    "Due within {days} days, and not done: {requests}. The page of each request, under Privacy requests, "
    "shows what it waits for."
)
INVALID = (
    "The source has rows that cannot be accepted: {requests}. Correct each row and set its status to "
    "pending. If a row is not a request, trigger dsar_daily with the decision `{first} dismiss <reason>`."
)
UNANSWERED = (
    "No account can serve {requests}. Answer by hand. Then trigger dsar_daily with the decision "
    "`{first} answered <reason>`."
)
NOT_ASKED = (
    "{account} may hold data of {requests} and was not asked: it has no API for this. Ask the vendor by "
    "hand. Then trigger dsar_daily with the decision `{first} acknowledge always <reason>`. If you ask this "
    "vendor in another way for all requests, enter `{account} acknowledge always <reason>`."
)
FAILED = (
    "{account} failed for {requests}. The receipt of each request gives the reason. "
    "Fix the cause, then trigger dsar_daily with retry_failed. Or answer by hand, then trigger dsar_daily "
    "with the decision `{first} acknowledge always <reason>`."
)
REJECTED = (
    "{account} refused the identifiers of {requests}. The receipt of each request gives the vendor's code. "
    "Add a corrected row with a new request_id to the source, or answer by hand. Then trigger dsar_daily "
    "with the decision `{first} acknowledge always <reason>`."
)
UNCONFIRMED = (
    "{account} gave implausible outcomes for {requests}. They wait, and nothing is closed. Check that "
    "connection {connection} has the right key, partner and environment. Then trigger dsar_daily with the "
    "decision `{account} discard_outcomes <reason>` to send them again, or "
    "`{account} confirm_outcomes <reason>` if they are right."
)
UNRECONCILED = (
    "It is not known whether {account} accepted {requests}, the oldest since {since}. {reason}. Nothing is "
    "sent again until a run can find out. The log of {account}.submit has each attempt. Check connection "
    "{connection}, and ask the vendor whether the API has changed."
)
HELD = (
    "It is not known whether {account} accepted {requests}. Ask the vendor. Then trigger dsar_daily with a "
    "decision for each request: `{first} {account} send_again`, or `{first} {account} taken <job id>`."
    "{which}"
)
WHICH = " {first} has several uncertain submissions, so add one of {labels} to the decision."
VOLUME_WAITS = (
    "{one.account}: {one.held:,} {one.action} submissions are on hold, because {one.count:,} in a day are "
    "unusual (usual: {one.usual:,}, allowed: {one.max_count:,}). The first is due on {due}. Check the "
    "source. Then approve or deny them under Required Actions of dsar_daily. The task approve_volume of each "
    "run asks."
)
VOLUME_DENIED = (
    "{one.account}: {one.held:,} {one.action} submissions are on hold, because {one.decided_by} denied them "
    "({one.reason}). The first is due on {due}. To send them after all, trigger dsar_daily with the decision "
    "`{one.account} release_volume <reason>`."
)


def todo(found: Attention, connections: Mapping[str, str]) -> list[str]:
    """Returns one sentence for each action that an operator must take."""
    of_requests = (
        (OVERDUE, "request", loud(found.overdue)),
        (NEAR_DUE, "request", loud(found.near)),
        (INVALID, "row", [f"{item.name}: {item.why}" for item in found.invalid if item.is_loud]),
        (UNANSWERED, "request", loud(found.unanswered)),
    )
    sentences = [
        sentence.format(requests=_some(names, what), first=names[0].split(":")[0], days=NEAR.days)
        for sentence, what, names in of_requests
        if names
    ]
    unreconciled = [
        UNRECONCILED.format(
            account=account,
            requests=_some([one.request_id for one in of_account]),
            since=f"{of_account[0].since.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            reason=_sentence(of_account[0].reason or "its reply was lost"),
            connection=connection_of(account, connections),
        )
        for account, of_account in found.unreconciled.items()
    ]
    of_accounts = (
        (UNCONFIRMED, found.unconfirmed),
        (FAILED, _loud(found.failed)),
        (REJECTED, _loud(found.rejected)),
        (NOT_ASKED, _loud(found.not_asked)),
        (HELD, found.held),
    )
    volumes = [
        (VOLUME_DENIED if one.decision else VOLUME_WAITS).format(
            one=one, due=f"{one.due_soonest.astimezone(UTC):%Y-%m-%d}"
        )
        for one in found.volumes
    ]
    return [
        *sentences,
        *volumes,
        *unreconciled,
        *(
            sentence.format(
                account=account,
                requests=_some(ids),
                first=ids[0],
                connection=connection_of(account, connections),
                which=_which(ids[0], found.held_labels.get(account, ())),
            )
            for sentence, by_account in of_accounts
            for account, ids in by_account.items()
        ),
    ]


def acknowledged(found: Attention) -> list[str]:
    """Returns one sentence for each group of items that an operator has acknowledged."""
    groups = {
        "past the legal due date": found.overdue,
        "rows that cannot be accepted": found.invalid,
        "to be answered by hand": found.unanswered,
        **{f"failed at {account}": items for account, items in found.failed.items()},
        **{f"rejected by {account}": items for account, items in found.rejected.items()},
        **{f"not asked at {account}": items for account, items in found.not_asked.items()},
    }
    quiet = {what: [item for item in items if not item.is_loud] for what, items in groups.items()}
    return [
        f"acknowledged, {what}: {_some([_until(item) for item in items], 'item')}"
        for what, items in quiet.items()
        if items
    ]


def _loud(by_account: Mapping[str, Sequence[Item]]) -> dict[str, list[str]]:
    return {account: names for account, items in by_account.items() if (names := loud(items))}


def _until(item: Item) -> str:
    return f"{item.name} until {item.until:%Y-%m-%d}" if item.until else item.name


def _which(request_id: str, labels: Sequence[str]) -> str:
    return WHICH.format(first=request_id, labels=", ".join(labels)) if len(labels) > 1 else ""


def connection_of(account: str, connections: Mapping[str, str]) -> str:
    """Returns the connection of an account, or a text that stands for it."""
    return connections.get(account, f"of {account}")


def _some(names: Sequence[str], what: str = "request") -> str:
    shown = ", ".join(names[:IDS_PER_SENTENCE])
    more = f" and {len(names) - IDS_PER_SENTENCE} more" if len(names) > IDS_PER_SENTENCE else ""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({shown}{more})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
