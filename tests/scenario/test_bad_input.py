"""What the field sends by mistake or by malice: each gets its answer, and costs no other association.

Every test runs against one gateway, while an association that has nothing to do with it stays open; at the
end of each the bystander is still served, and the log shows no traceback.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import wire
from tests.corpus import CorpusFile, Part10, read_part10
from tests.peers import wait_until
from tests.peers.gateway import Gateway, modality
from tests.peers.instances import CT, Maker
from tests.peers.sender import Association, closes_or_aborts, frame
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]

ECHO = (wire.VERIFICATION, wire.IMPLICIT_LE)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UID_OF_NOTHING = "1.2.826.0.1.3680043.10.1338.99.1"
LONGEST_PDU = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateway under test, the destination behind it, and the bystander."""

    gateway: Gateway
    sink: Sink
    bystander: Association


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sink]]:
    directory = tmp_path_factory.mktemp("bad-input")
    with Sink(directory / "sink") as sink:
        configuration = {
            "modalities": {"sink": modality(sink.port)},
            "rules": [{"rule": "any", "when": {"PatientID": {"exists": True}}, "send": "sink"}],
            "unmatched": "hold",
        }
        with Gateway(directory / "gateway", configuration, limits={"pdu_cap_bytes": LONGEST_PDU}) as gateway:
            yield gateway, sink


@pytest.fixture
def site(running: tuple[Gateway, Sink]) -> Iterator[Site]:
    gateway, sink = running
    with Association(gateway.port, [ECHO], calling="BYSTANDER") as bystander:
        yield Site(gateway=gateway, sink=sink, bystander=bystander)
        assert bystander.echo() == 0
    assert "Traceback" not in gateway.log_text()


def as_sent(file: CorpusFile) -> Part10:
    """What a careless modality would send of a file: what its meta says, or a guess, and whatever follows."""
    raw = file.path.read_bytes()
    try:
        found = read_part10(raw)
    except ValueError:
        found = Part10(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid="", data_set=raw)
    return Part10(
        sop_class_uid=found.sop_class_uid or SECONDARY_CAPTURE,
        sop_instance_uid=found.sop_instance_uid or UID_OF_NOTHING,
        transfer_syntax_uid=found.transfer_syntax_uid or wire.IMPLICIT_LE,
        data_set=found.data_set,
    )


def test_each_malformed_file_is_answered_and_what_is_taken_is_delivered_or_held(
    site: Site, manifest: tuple[CorpusFile, ...]
) -> None:
    taken: set[tuple[str, str]] = set()
    for file in manifest:
        if file.expected not in ("malformed", "not DICOM"):
            continue
        sent = as_sent(file)
        pair = (sent.sop_class_uid, sent.transfer_syntax_uid)
        with Association(site.gateway.port, [ECHO, pair], calling="CARELESS") as association:
            if not association.accepts(*pair):
                assert pair[0] == "", file.name
                continue
            status = association.store(*pair[:1], sent.sop_instance_uid, pair[1], sent.data_set)
            assert association.echo() == 0, file.name
        if status == 0 or status >> 12 == 0xB:
            taken.add((sent.sop_instance_uid, sent.sha256))
        else:
            assert status in (0x0115, 0x0117), f"{file.name}: {status:04X}"
    assert len(taken) > 50
    site.gateway.wait_quiet()
    arrived = set(site.sink.data_sets())
    assert arrived <= taken
    held = {str(row["sop_instance_uid"]) for row in site.gateway.deliveries("held")}
    assert {uid for uid, _ in taken} == {uid for uid, _ in arrived} | held


def test_files_thrown_at_the_port_are_turned_away(site: Site, manifest: tuple[CorpusFile, ...]) -> None:
    for file in manifest:
        if file.expected in ("malformed", "not DICOM"):
            with socket.create_connection(("127.0.0.1", site.gateway.port), timeout=10) as sock:
                turned_away(sock, file.path.read_bytes()[:200_000])


def turned_away(sock: socket.socket, sent: bytes) -> bytes:
    """Send and say no more: what comes back before the gateway closes, which is an A-ABORT or nothing."""
    try:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has closed already
    answer = closes_or_aborts(sock)
    assert answer[:1] in (b"", b"\x07"), answer.hex()
    return answer


CONTEXTS: list[wire.Context] = [(1, CT[0], (CT[1],))]


def replaced(pdu: bytes, at: int, value: bytes) -> bytes:
    return pdu[:at] + value + pdu[at + len(value) :]


REQUEST = wire.associate_rq("CARELESS", "ROUTER", CONTEXTS)
COMMAND = wire.pdata(1, wire.COMMAND_LAST, wire.store_rq(1, CT[0], UID_OF_NOTHING))
NOT_OUR_STATE = {
    "P-DATA before an association": COMMAND,
    "A-RELEASE-RQ before an association": wire.RELEASE_RQ_PDU,
    "A-ASSOCIATE-AC to an acceptor": wire.associate_ac(REQUEST[6:]),
    "an unknown PDU type": struct.pack(">BBI", 0x0A, 0, 0),
    "a request that ends in its header": struct.pack(">BBI", wire.ASSOCIATE_RQ, 0, 4),
    "a request over the cap": struct.pack(">BBI", wire.ASSOCIATE_RQ, 0, 0x7FFFFFFF) + bytes(1000),
    "an item longer than its PDU": replaced(REQUEST, 76, b"\xff\xff"),
}
BROKEN_PDUS = {
    "a PDU over the cap": struct.pack(">BBI", wire.P_DATA, 0, LONGEST_PDU + 1),
    "a PDV longer than its PDU": struct.pack(">BBIIBB", wire.P_DATA, 0, 8, 100, 1, 3) + bytes(2),
    "a PDV of no length": struct.pack(">BBII", wire.P_DATA, 0, 4, 0),
    "a PDV without a message header": struct.pack(">BBIIB", wire.P_DATA, 0, 5, 1, 1),
    "a context that was not accepted": wire.pdata(
        3, wire.COMMAND_LAST, wire.store_rq(1, CT[0], UID_OF_NOTHING)
    ),
    "an even context": wire.pdata(2, wire.COMMAND_LAST, wire.store_rq(1, CT[0], UID_OF_NOTHING)),
    "a data set without a command": wire.pdata(1, wire.DATA_LAST, bytes(100)),
    "a command inside a data set": COMMAND + wire.pdata(1, wire.DATA_MORE, bytes(10)) + COMMAND,
    "a command set that cannot be read": wire.pdata(1, wire.COMMAND_LAST, b"\xff" * 40),
    "a command set without end": wire.pdata(1, 1, bytes(60_000)) * 3,
    "a second request": REQUEST,
    "an unknown PDU type": struct.pack(">BBI", 0x55, 0, 0),
}


@pytest.mark.parametrize("sent", NOT_OUR_STATE.values(), ids=NOT_OUR_STATE.keys())
def test_what_is_no_request_is_turned_away(site: Site, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.gateway.port), timeout=10) as sock:
        turned_away(sock, sent)


@pytest.mark.parametrize("sent", BROKEN_PDUS.values(), ids=BROKEN_PDUS.keys())
def test_a_broken_pdu_is_answered_by_an_abort(site: Site, sent: bytes) -> None:
    with Association(site.gateway.port, [CT], calling="CARELESS") as association:
        association.sock.sendall(sent)
        answer = closes_or_aborts(association.sock)
        assert answer[:6] == struct.pack(">BBI", wire.ABORT, 0, 4)


CUT_OFF = {
    "inside a PDU": (300_000, 20_000),
    "between two PDUs": (300_000, 131072 + 6),
    "in a header": (300_000, 131072 + 6 + 3),
    "after much was streamed": (6_000_000, 5_800_000),
}


@pytest.mark.parametrize(("size", "sent"), CUT_OFF.values(), ids=CUT_OFF.keys())
def test_an_instance_that_breaks_off_leaves_nothing_behind(site: Site, size: int, sent: int) -> None:
    def large_objects() -> list[Path]:
        return sorted(site.gateway.data_dir.glob("large/*"))

    before = large_objects()
    made = Maker(size).make(1)
    with Association(site.gateway.port, [CT], calling="CARELESS") as association:
        association.sock.sendall(wire.pdata(1, wire.COMMAND_LAST, wire.store_rq(1, CT[0], made.uid)))
        association.sock.sendall(frame(1, made.data_set, 131072)[:sent])
        association.sock.shutdown(socket.SHUT_WR)
        closes_or_aborts(association.sock)
    wait_until(lambda: large_objects() == before, "what was streamed is gone")
    site.gateway.wait_quiet()
    assert made.uid not in {uid for uid, _ in site.sink.data_sets()}
    assert made.uid not in site.gateway.get("/api/v1/queue")


UIDS = {
    "no SOP Instance UID": ("", 0x0115),
    "a SOP Instance UID of 80 characters": ("1.2." + "3" * 76, 0x0117),
    "a path as SOP Instance UID": ("../../x", 0x0117),
}


@pytest.mark.parametrize(("uid", "status"), UIDS.values(), ids=UIDS.keys())
def test_a_command_with_a_bad_uid_is_refused_and_the_association_goes_on(
    site: Site, uid: str, status: int
) -> None:
    made = Maker(40_000).make(7)
    with Association(site.gateway.port, [ECHO, CT], calling="CARELESS") as association:
        assert f"{association.store(CT[0], uid, CT[1], made.data_set):04X}" == f"{status:04X}"
        assert association.echo() == 0
        assert association.store(CT[0], made.uid, CT[1], made.data_set) == 0


def test_a_uid_that_differs_from_the_data_sets_is_stored_with_a_warning(site: Site) -> None:
    made = Maker(40_000).make(8)
    with Association(site.gateway.port, [CT], calling="CARELESS") as association:
        assert association.store(CT[0], f"{UID_OF_NOTHING}.7", CT[1], made.data_set) == 0xB007
    site.sink.wait_for({f"{UID_OF_NOTHING}.7"})


REQUESTS = {
    "an even context id": ([(2, CT[0], (CT[1],)), (1, *ECHO[:1], ECHO[1:])], {1}),
    "a context twice": ([(1, *ECHO[:1], ECHO[1:]), (1, CT[0], (CT[1],))], {1}),
    "a context without transfer syntax": ([(1, *ECHO[:1], ECHO[1:]), (3, CT[0], ())], {1}),
}


@pytest.mark.parametrize(("contexts", "accepted"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_with_an_odd_context_is_accepted_or_refused_but_not_fatal(
    site: Site, contexts: list[wire.Context], accepted: set[int]
) -> None:
    with socket.create_connection(("127.0.0.1", site.gateway.port), timeout=10) as sock:
        sock.sendall(wire.associate_rq("CARELESS", "ROUTER", contexts))
        kind, body = wire.receive_pdu(sock)
        assert kind in (wire.ASSOCIATE_AC, wire.ASSOCIATE_RJ, wire.ABORT)
        if kind == wire.ASSOCIATE_AC:
            assert wire.acceptance(body).contexts.keys() <= accepted


def test_an_unknown_ae_title_is_rejected_for_what_it_is(tmp_path: Path) -> None:
    configuration = {"accept_unknown": [], "rules": [], "unmatched": "hold"}
    with Gateway(tmp_path / "strict", configuration) as gateway:
        with pytest.raises(wire.PeerError, match="type 3: 00010103"):  # permanent, user, calling AE title
            Association(gateway.port, [ECHO], calling="NOBODY")
        assert "Traceback" not in gateway.log_text()
