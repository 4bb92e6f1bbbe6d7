"""Times as people write them, as the periods that they name."""

from __future__ import annotations

import re
from datetime import datetime, timedelta


def period_of(text: str) -> tuple[datetime, datetime]:
    """Read an ISO 8601 time as the period that it names: its begin, and the first moment after it.

    Raises:
        ValueError: It is no such time.
    """
    text = text.strip()
    try:
        if re.fullmatch(r"\d{4}", text):
            return datetime(int(text), 1, 1), datetime(int(text) + 1, 1, 1)
        if re.fullmatch(r"\d{4}-\d\d", text):
            year, month = int(text[:4]), int(text[5:])
            return datetime(year, month, 1), datetime(year + month // 12, month % 12 + 1, 1)
        start = datetime.fromisoformat(text)
        day = re.fullmatch(r"\d{4}-?\d\d-?\d\d", text) is not None
        return start, start + (timedelta(days=1) if day else timedelta(microseconds=1))
    except (ValueError, OverflowError):
        raise ValueError("a time is written as 2024, 2024-06, 2024-06-01 or 2024-06-01T14:30") from None


def is_before(first: datetime, second: datetime) -> bool:
    """Compare two times; where one has no time zone, both are taken as they are written."""
    if first.tzinfo is None or second.tzinfo is None:
        first, second = first.replace(tzinfo=None), second.replace(tzinfo=None)
    return first < second
