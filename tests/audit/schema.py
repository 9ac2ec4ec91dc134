"""Audit messages as a receiver sees them: parsed, and valid by the schema of PS3.15 A.5.1."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

_SCHEMA = etree.RelaxNG(etree.parse(str(Path(__file__).with_name("audit_message.rng"))))


@dataclass(frozen=True, slots=True)
class Parsed:
    """One message; ``path`` arguments are XPath, from its root."""

    root: etree._Element

    def one(self, path: str) -> str:
        """The only value at a path."""
        (value,) = self.all(path)
        return value

    def all(self, path: str) -> list[str]:
        """Every value at a path."""
        found = self.root.xpath(path)
        assert isinstance(found, list)
        return [str(value) for value in found]

    @property
    def event(self) -> str:
        return self.one("EventIdentification/EventID/@csd-code")

    @property
    def kind(self) -> str:
        return "".join(self.all("EventIdentification/EventTypeCode/@csd-code"))

    @property
    def outcome(self) -> str:
        return self.one("EventIdentification/@EventOutcomeIndicator")

    @property
    def alert(self) -> str:
        """The free text of a Security Alert."""
        return b64decode(self.one("//ParticipantObjectDetail[@type='Alert Description']/@value")).decode()

    @property
    def study(self) -> str:
        return self.one("ParticipantObjectIdentification[*/@csd-code='110180']/@ParticipantObjectID")

    @property
    def patient(self) -> str:
        return self.one(
            "ParticipantObjectIdentification[*/@originalText='Patient Number']/@ParticipantObjectID"
        )

    @property
    def sop_classes(self) -> dict[str, int]:
        uids, counts = self.all("//SOPClass/@UID"), self.all("//SOPClass/@NumberOfInstances")
        return dict(zip(uids, map(int, counts), strict=True))

    def participant(self, role: str) -> dict[str, str]:
        """The attributes of the only participant with a role (its DCM code)."""
        (found,) = (
            one
            for one in self.root.iterfind("ActiveParticipant")
            if (code := one.find("RoleIDCode")) is not None and code.get("csd-code") == role
        )
        return {str(name): str(value) for name, value in found.attrib.items()}


def parse(xml: str | bytes) -> Parsed:
    """A message that is valid, or an ``AssertionError`` with what is wrong with it."""
    root = etree.fromstring(xml.encode() if isinstance(xml, str) else xml)
    assert _SCHEMA.validate(root), str(_SCHEMA.error_log)
    return Parsed(root)
