"""The row behind a secret."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, LargeBinary, String, func
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base


class Credential(Base):
    """A secret of a business. Whatever refers to it, a job's payload above all, holds its id and nothing else."""

    __tablename__ = "credentials"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32), doc="What it opens: mailbox, smtp, ledger.")
    sealed: Mapped[bytes] = mapped_column(LargeBinary, doc="See switchboard_core.vault.sealing.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
