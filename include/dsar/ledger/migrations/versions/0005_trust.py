"""When a vendor first denied a job, outcomes that wait for an operator, holds, and where polling stopped."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())
