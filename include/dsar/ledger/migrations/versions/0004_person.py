"""The index of a person's open submissions holds results to be collected, too."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # An erasure waits until what the same person has asked to see is collected.
    op.execute("DROP INDEX dsar.submission_person")
    op.execute(
        "CREATE INDEX submission_person ON dsar.submission (account, identity_hash)"
        " WHERE state IN ('planned', 'submitting', 'uncertain', 'submitted', 'ready')"
    )
