"""UIDs and patient IDs that stand for others: the same for the same one, and no way back without the key.

They come of a keyed hash (HMAC-SHA256), so every worker, every node with that key and every later day finds
the same ones without a list of who is who; whoever tries all possible IDs without the key finds nothing.
"""

from __future__ import annotations

import base64
import hmac
import re

from pydicom import config
from pydicom.uid import UID

TEST_KEY = "the key of tests of rules: everybody knows it"

# Context groups have UIDs of the standard (PS3.6 Table A-3) that pydicom does not list.
_CONTEXT_GROUP = re.compile(r"1\.2\.840\.10008\.6\.1\.[0-9]{1,6}")
DAYS = 3652
_UUID_BYTES, _PSEUDONYM_BYTES = 16, 10


class Pseudonyms:
    """Those of one key."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key.strip().encode()

    def uid(self, uid: str) -> str:
        """The UID in its place; the same one where the standard has defined it, and so everybody has it."""
        if is_well_known(uid):
            return uid
        bits = int.from_bytes(self._digest("uid", uid)[:_UUID_BYTES])
        bits = bits & ~(0xF000 << 64) | 0x8000 << 64  # version 8 of RFC 9562: 2.25 is for UUIDs (PS3.5 §B.2)
        bits = bits & ~(0xC000 << 48) | 0x8000 << 48
        return f"2.25.{bits}"

    def patient_id(self, patient_id: str) -> str:
        """Sixteen letters and digits."""
        return base64.b32encode(self._digest("patient", patient_id)[:_PSEUDONYM_BYTES]).decode()

    def days(self, patient_id: str) -> int:
        """By how many days this patient's dates are shifted back: 1 to ten years."""
        return 1 + int.from_bytes(self._digest("days", patient_id)[:8]) % DAYS

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{value}".encode(), "sha256")


def is_well_known(uid: str) -> bool:
    """Whether the standard itself has defined it."""
    named = UID(uid, config.IGNORE).name  # the UID itself where pydicom does not know it
    return named != uid or _CONTEXT_GROUP.fullmatch(uid) is not None
