"""Addresses within the desk; ids in them are quoted."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def campaign_url(campaign_id: str, *parts: str) -> str:
    """The address of a part of a campaign."""
    return "/".join(("/campaigns", *(quote(part, safe="") for part in (campaign_id, *parts))))


def person_url(person_id: str, part: str) -> str:
    """The address of something that is done with a person."""
    return f"/people/{quote(person_id, safe='')}/{part}"


def with_query(url: str, **values: str | int) -> str:
    """An address with values after a question mark."""
    return f"{url}?{urlencode(values)}"
