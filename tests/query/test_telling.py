from __future__ import annotations

from pathlib import Path

import pytest

from router.clock import ManualClock
from router.config.audit import Audit, AuditEvent
from router.config.settings import Modality
from router.dicom.query import Level, Model, parse_keys, retrieve_query
from router.query.get import get
from router.query.retrieve import move
from tests.audit.auditors import auditor
from tests.audit.schema import Parsed, parse
from tests.dicom.wire import CT
from tests.query.answering import PATIENCE_S, Bench, bench, put
from tests.query.storing import Destination, listening

QUERY = retrieve_query(parse_keys(("StudyInstanceUID=1.2",)))


async def told(path: Path, out: Path, *events: AuditEvent) -> list[Parsed]:
    """The messages of two queries, a C-MOVE and a C-GET."""
    teller = auditor(Audit(file=str(path / "audit.log"), events=events), ManualClock())
    async with listening(Destination(statuses={"1.2.3.2": 0xA700})) as there:
        modality = Modality(ae_title="THERE", host="127.0.0.1", port=there.port)
        async with teller.running(), bench(path, modalities={"pacs": modality}, auditor=teller) as one:
            for number in (1, 2, 3):
                await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}", PatientName="SECRET^NAME")
            await ask(one, out)
    return [parse(line) for line in (path / "audit.log").read_text().splitlines()]


async def ask(one: Bench, out: Path) -> None:
    await one.find("PatientName=SECRET*")
    await one.find(model=Model.PATIENT, level=Level.PATIENT)
    await move(one.target, QUERY, "THERE", on_progress=lambda _: None, timeout_s=PATIENCE_S)
    await get(
        one.target, QUERY, out, on_progress=lambda _: None, on_fetched=lambda _: None, timeout_s=PATIENCE_S
    )


async def test_who_asked_and_who_was_sent_what(tmp_path: Path) -> None:
    messages = await told(tmp_path / "data", tmp_path / "out", AuditEvent.QUERY, AuditEvent.EXPORT)
    queries = [message for message in messages if message.event == "110112"]
    assert len(queries) == 2
    assert queries[0].one("//ActiveParticipant[@UserIsRequestor='true']/@UserID") == "ASKER"
    assert queries[0].one("//@ParticipantObjectID") == "1.2.840.10008.5.1.4.1.2.2.1"
    assert queries[0].outcome == "0"
    moved, got = (message for message in messages if message.event == "110104")
    target = "//ActiveParticipant[RoleIDCode/@csd-code='110152']/@UserID"
    assert (moved.one(target), moved.study, moved.sop_classes) == ("PACS", "1.2", {CT: 2})
    assert (got.one(target), got.study, got.sop_classes) == ("ASKER", "1.2", {CT: 3})
    assert "SECRET" not in (tmp_path / "data" / "audit.log").read_text()


@pytest.mark.parametrize(
    ("event", "codes"), [(AuditEvent.QUERY, {"110112"}), (AuditEvent.EXPORT, {"110104"})]
)
async def test_only_what_is_to_be_told(tmp_path: Path, event: AuditEvent, codes: set[str]) -> None:
    messages = await told(tmp_path / "data", tmp_path / "out", event)
    assert {message.event for message in messages} == codes
