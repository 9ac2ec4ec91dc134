"""router.audit.auditor: from facts to the file, what is left out on demand, what is remembered of whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.audit.auditor import Auditor
from router.audit.gathering import QUIET_S, REPEAT_S, Caller, Refusal, Refused
from router.audit.subjects import KNOWN_MAX, Subjects
from router.clock import ManualClock
from router.config.audit import ALL_EVENTS, Audit, AuditEvent, AuditPatient
from router.model import DeliveryState, Reason
from router.spool.orders import Operator
from tests.audit import auditors
from tests.audit.samples import CT, EXPLICIT, MR, NOW, decision, header, instance, outcome
from tests.audit.schema import Parsed, parse

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
BY = Operator(who="anna", address="192.0.2.9")
STRANGER = Refusal(what=Refused.CALLER, where="main", because="x", who="EVIL", address="192.0.2.66")


class Trail:
    """An auditor that writes into a file, and what it has written."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.path = directory / "audit.log"
        self.clock = ManualClock(NOW)
        audit = Audit(file=str(self.path), **options)  # type: ignore[arg-type]
        self.auditor: Auditor = auditors.auditor(audit, self.clock)

    def messages(self) -> list[Parsed]:
        return [parse(line) for line in self.path.read_bytes().splitlines()]

    def kinds(self) -> list[tuple[str, str]]:
        return [(one.event, one.kind) for one in self.messages()]


def everything(auditor: Auditor) -> None:
    """One fact of each kind."""
    auditor.started()
    one = instance()
    auditor.read(one, header())
    auditor.routed(one, decision("pacs", "files"))
    auditor.settled(outcome(), one)
    auditor.settled(outcome(state=DeliveryState.DEAD, reason=Reason.MAX_AGE, destination="files"), one)
    auditor.refused(STRANGER)
    auditor.user_refused("mallory", "192.0.2.67", "wrong password")
    auditor.reloaded("file:///etc/router.yaml")
    auditor.certificates_reloaded("listener main", "no such file")
    auditor.queried(Caller(ae_title="WS1", address="192.0.2.8"), FIND, EXPLICIT)
    auditor.ordered(BY, "drain", "")


START, STOP = ("110100", "110120"), ("110100", "110121")
KINDS = {
    AuditEvent.APPLICATION: [START, STOP],
    AuditEvent.AUTHENTICATION: [("110113", "110126"), ("110114", "110122")],
    AuditEvent.CONFIGURATION: [("110113", "110131"), ("110113", "110129")],
    AuditEvent.QUERY: [("110112", "")],
    AuditEvent.OPERATORS: [("110113", "110132")],
    AuditEvent.IMPORT: [("110104", "")],
    AuditEvent.BEGIN: [("110102", ""), ("110102", "")],
    AuditEvent.EXPORT: [("110104", ""), ("110104", "")],
}


async def test_everything_is_told_and_the_stop_comes_last(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    async with trail.auditor.running():
        everything(trail.auditor)
    kinds = trail.kinds()
    assert (kinds[0], kinds[-1]) == (START, STOP)
    assert sorted(kinds) == sorted(kind for event in ALL_EVENTS for kind in KINDS[event])


@pytest.mark.parametrize("event", AuditEvent)
async def test_what_is_not_asked_for_is_not_told(tmp_path: Path, event: AuditEvent) -> None:
    trail = Trail(tmp_path, events=(event,))
    async with trail.auditor.running():
        everything(trail.auditor)
    assert sorted(trail.kinds()) == sorted(KINDS[event])


async def test_without_an_audit_nothing_is_kept(tmp_path: Path) -> None:
    auditor = auditors.auditor(Audit(events=()), ManualClock(NOW))
    assert not auditor.tells_instances
    assert not auditor.tells_deliveries
    async with auditor.running():
        everything(auditor)
    assert auditor.warnings() == ()
    assert list(tmp_path.iterdir()) == []


async def test_instances_are_told_by_study_source_and_destination(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("import", "begin", "export"))
    auditor = trail.auditor
    async with auditor.running():
        for key in range(1, 7):
            one = instance(key, sop_class_uid=MR if key == 6 else CT)
            auditor.read(one, header(study="1.2.3" if key < 5 else "1.2.4"))
            auditor.routed(one, decision("pacs"))
            auditor.settled(outcome(key), one)
    told = {
        (one.event, one.one("EventIdentification/@EventActionCode"), one.study): one
        for one in trail.messages()
    }
    assert len(told) == 6
    for event, action in (("110104", "C"), ("110102", "E"), ("110104", "R")):
        assert told[event, action, "1.2.3"].sop_classes == {CT: 4}
        assert told[event, action, "1.2.4"].sop_classes == {CT: 1, MR: 1}


async def test_success_and_failure_are_two_messages(tmp_path: Path) -> None:
    """A.5.2: not a single message with mixed results."""
    trail = Trail(tmp_path, events=("export",))
    async with trail.auditor.running():
        for key in range(1, 6):
            one = instance(key)
            trail.auditor.read(one, header())
            state = DeliveryState.DEAD if key == 5 else DeliveryState.DELIVERED
            trail.auditor.settled(outcome(key, state, Reason.NO_CONTEXT), one)
    assert sorted((one.outcome, one.sop_classes[CT]) for one in trail.messages()) == [("0", 4), ("8", 1)]


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.HELD])
async def test_what_goes_on_is_no_end(tmp_path: Path, state: DeliveryState) -> None:
    trail = Trail(tmp_path, events=("export",))
    async with trail.auditor.running():
        trail.auditor.settled(outcome(state=state, reason=Reason.CONNECT_FAILED), instance())
        trail.auditor.ordered(BY, "drain", "")
    assert not trail.path.exists()


async def test_the_member_of_a_group_is_the_destination(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("export",))
    async with trail.auditor.running():
        trail.auditor.settled(outcome(destination="safe", carried_by="pacs"), instance())
    (told,) = trail.messages()
    assert told.participant("110152")["UserID"] == "PACS"


async def test_a_destination_without_tls_is_told_once(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("authentication",))
    async with trail.auditor.running():
        for key in range(100):
            failed = outcome(key, DeliveryState.PENDING, Reason.TLS_FAILED, comment="it has expired")
            trail.auditor.settled(failed, instance(key))
        trail.clock.advance(REPEAT_S)
        trail.auditor.tell_due()
    first, repeated = trail.messages()
    assert first.alert == "towards pacs: it has expired"
    assert repeated.alert == "towards pacs: it has expired: 99 times more"


async def test_a_study_is_told_when_it_has_come_to_rest(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("import",))
    async with trail.auditor.running():
        trail.auditor.routed(instance(), decision())
        trail.auditor.tell_due()
        trail.auditor.routed(instance(2), decision())
        trail.clock.advance(QUIET_S)
        trail.auditor.tell_due()
        trail.auditor.routed(instance(3), decision())
    assert [one.sop_classes[CT] for one in trail.messages()] == [2, 1]


async def test_a_patient_is_told_only_where_that_is_asked_for(tmp_path: Path) -> None:
    for patient, told in ((AuditPatient.NONE, "withheld"), (AuditPatient.ID, "P1")):
        directory = tmp_path / patient
        directory.mkdir()
        trail = Trail(directory, events=("import",), patient=patient)
        async with trail.auditor.running():
            trail.auditor.read(instance(), header())
            trail.auditor.routed(instance(), decision())
        assert trail.messages()[0].patient == told
        assert (b"P1" in trail.path.read_bytes()) is (patient is AuditPatient.ID)


async def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("import",), patient=AuditPatient.ID)
    async with trail.auditor.running():
        trail.auditor.routed(instance(1), decision())
        trail.auditor.read(instance(2), header(study=None, patient=None))
        trail.auditor.routed(instance(2), decision())
    (told,) = trail.messages()
    assert (told.study, told.patient, told.sop_classes) == ("unknown", "unknown", {CT: 2})


async def test_it_ends_with_the_gateway_whatever_that_dies_of(tmp_path: Path) -> None:
    trail = Trail(tmp_path, events=("application",))
    with pytest.raises(BaseExceptionGroup):
        async with trail.auditor.running():
            trail.auditor.started()
            raise RuntimeError("a defect elsewhere")
    assert trail.kinds() == [START, STOP]


async def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "none", events=("application",))
    async with trail.auditor.running():
        trail.auditor.started()
    assert "do not get through (file)" in trail.auditor.warnings()[0]


def test_the_latest_instances_are_remembered() -> None:
    subjects = Subjects(AuditPatient.NONE)
    for key in range(KNOWN_MAX + 10):
        subjects.read(instance(key), header())
    assert 9 not in subjects
    assert 10 in subjects
    assert subjects.of(instance(9)).study_instance_uid == "unknown"
    assert subjects.of(instance(11)) is subjects.of(instance(12)), "one value for a study"


def test_long_values_are_cut() -> None:
    subjects = Subjects(AuditPatient.ID)
    subjects.read(instance(), header(study="1" * 10_000, patient="P" * 10_000))
    subject = subjects.of(instance())
    assert (len(subject.study_instance_uid), len(subject.patient_id)) == (64, 64)
