"""What UIDs are called in the standard."""

from __future__ import annotations

from pydicom import config
from pydicom.uid import UID


def uid_name(uid: str) -> str:
    """What a UID stands for, or the UID where nobody knows."""
    return UID(uid, config.IGNORE).name or uid
