"""The accounts of this deployment. Edit this file.

One line an account: its name in the DAG and in receipts, the vendor whose API it speaks, the Airflow
connection that holds its secret (by default `<name>_default`), and the kinds of identifiers that the
account holds (by default the vendor's own). An identifier of a kind that is not listed here is never
sent to the account, since that would tell the vendor something new; one that is listed is always
sent, since what is left out is not deleted.

Batch has one API key for each app, so each app is an account of its own:

    Account("batch_ios", vendor="batch"),
    Account("batch_android", vendor="batch"),

One that is to go stays until its open requests have ended, and is given nothing new meanwhile:

    Account("batch_ios", vendor="batch", identities=()),

An account of very many requests can be spread over several workers and triggerers, which share its rate:

    Account("attentive", vendor="attentive", shards=8),
"""

from include.dsar.accounts import Account

ACCOUNTS = (
    Account("besitos", vendor="besitos"),
    Account("batch", vendor="batch"),
    Account("id5", vendor="id5"),
    Account("attentive", vendor="attentive"),
)

# The country of phone numbers that the source writes without one, such as "US" or "DE".
# None: such a number is refused, because a guess would delete the wrong person's data.
PHONE_REGION: str | None = None
