"""The schema itself: it must refuse what the standard does not allow, or its "valid" says nothing."""

from __future__ import annotations

import pytest

from router.audit import codes
from router.audit.message import AuditSource, encode
from tests.audit.samples import events
from tests.audit.schema import parse

VALID = encode(events().application(codes.APPLICATION_START, 1_700_000_000.0), AuditSource(id="R"))
ALERT = encode(
    events().reloaded(codes.SOFTWARE_CONFIGURATION, "file:///r.yaml", "", 0.0), AuditSource(id="R")
)


def test_what_is_valid_passes() -> None:
    assert parse(VALID).event == "110100"
    assert parse(ALERT).event == "110113"


@pytest.mark.parametrize(
    ("whole", "part", "instead"),
    [
        (VALID, 'EventActionCode="E"', 'EventActionCode="X"'),
        (VALID, 'EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        (VALID, 'EventOutcomeIndicator="0"', ""),
        (VALID, '2023-11-14T22:13:20.000Z"', '2023-11-14 22:13:20"'),
        (VALID, ' originalText="Application Start"', ""),
        (VALID, 'UserIsRequestor="false"', 'UserIsRequestor="no"'),
        (VALID, 'AuditSourceID="R"', ""),
        (VALID, "<EventTypeCode", "<EventTypeKode"),
        (VALID, "</AuditMessage>", "<More/></AuditMessage>"),
        (ALERT, "<ParticipantObjectName>Software Configuration</ParticipantObjectName>", ""),
        (ALERT, 'ParticipantObjectTypeCodeRole="5"', 'ParticipantObjectTypeCodeRole="27"'),
        (ALERT, ' value="', ' walue="'),
    ],
)
def test_what_is_not_is_refused(whole: str, part: str, instead: str) -> None:
    assert part in whole
    with pytest.raises(AssertionError):
        parse(whole.replace(part, instead, 1))
