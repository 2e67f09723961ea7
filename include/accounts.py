"""The accounts of this deployment. Edit this file.

Each line is one account:

- its name, which appears in the DAG and in receipts,
- the vendor,
- the Airflow connection that holds its secret (default: `<name>_default`),
- the kinds of identifiers that the account holds (default: those of the vendor).

An identifier of any other kind is never sent to the account, because the vendor would learn something
new. An identifier of a listed kind is always sent, because the vendor deletes only what we send.

Batch has one API key for each app, so each app is an account:

    Account("batch_ios", vendor="batch"),
    Account("batch_android", vendor="batch"),

Before you remove an account, keep it without identities until its open requests have ended:

    Account("batch_ios", vendor="batch", identities=()),

An account with very many requests can run on several workers and triggerers. They share its rate:

    Account("attentive", vendor="attentive", shards=8),

Outcomes of an account wait for an operator if too many of them are not `completed`. These are the defaults
(import OutcomeBreaker from the same module as Account):

    Account("id5", vendor="id5", breaker=OutcomeBreaker(min_count=20, max_share=0.9)),

A batch of Besitos that does not end is sent again in smaller batches. These are the defaults (import
StuckBatches from the same module as Account):

    Account("besitos", vendor="besitos", stuck_batches=StuckBatches(
        usual_hours=1, times_usual=10, max_hours=20, near_due_days=7)),
"""

from include.dsar.accounts import Account, VolumeLimit

ACCOUNTS = (
    Account("besitos", vendor="besitos"),
    Account("batch", vendor="batch"),
    Account("id5", vendor="id5"),
    Account("attentive", vendor="attentive"),
    # A processor that speaks OpenDSR, such as mParticle or AppsFlyer. Its name is yours to choose.
    # Account("mparticle", vendor="opendsr"),
)

# The number of task instances that package results and close requests, from 1 to 64. More of them work
# faster if there are more workers.
PACKAGE_SHARDS = 1

# New submissions wait for an operator if there are unusually many in a day, for each account and action: see
# docs/deployment.md. Set without_history to the number that you expect per day. None: nothing ever waits.
VOLUME: VolumeLimit | None = VolumeLimit(times=3, at_least=100, without_history=1000, answer_hours=12)

# The country of phone numbers that the source writes without one, such as "US" or "DE". If this is None,
# such a number is refused: a guess could delete the data of another data subject.
PHONE_REGION: str | None = None
