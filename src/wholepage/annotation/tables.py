"""The store's tables as the program uses them; ``migrations`` makes them, step by step, in databases.

Times are text, ISO 8601 in UTC with milliseconds, as in events. Hashes and bodies are bytes, so that nothing on the way
can change their encoding.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

CAMPAIGNS = Table(
    "campaigns",
    METADATA,
    Column("campaign", Text, primary_key=True),
    Column("created", Text, nullable=False),
)
PLANS = Table(  # apart from what changes, for they are large
    "plans",
    METADATA,
    Column("campaign", Text, ForeignKey("campaigns.campaign"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
EVENTS = Table(
    "events",
    METADATA,
    Column("campaign", Text, ForeignKey("campaigns.campaign"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
HEADS = Table(  # where each log ends: rows lost at the end show, and writers of a campaign queue at its head
    "heads",
    METADATA,
    Column("campaign", Text, ForeignKey("campaigns.campaign"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("campaign", Text, ForeignKey("campaigns.campaign"), primary_key=True),
    Column("task_sha256", LargeBinary, primary_key=True),  # keys may be longer than an index takes
    Column("who", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("until", Text, nullable=False),
)
PEOPLE = Table(
    "people",
    METADATA,
    Column("person", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("password", Text),
)
INVITES = Table(
    "invites",
    METADATA,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("role", Text, nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("expires", Text, nullable=False),
    Column("used", Text),
    Column("person", Text, ForeignKey("people.person")),  # whom it lets in again; null = somebody new
)
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("person", Text, ForeignKey("people.person"), nullable=False, index=True),
    Column("expires", Text, nullable=False),
)
SIGN_INS = Table(  # tries of a name since its last success
    "sign_ins",
    METADATA,
    Column("name_key", Text, primary_key=True),
    Column("tries", BigInteger, nullable=False),
    Column("latest", Text, nullable=False),
)
