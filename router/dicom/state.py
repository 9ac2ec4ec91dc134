"""The upper layer's state machine as data: PS3.8 Table 9-10, in the layout in which the standard prints it.

``TRANSITIONS`` says which action an event has in a state, ``NEXT_STATES`` where an action leads. A missing
entry is an error: the peer's where the event is a PDU, ours where it is a request of the local user.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """PS3.8 Tables 9-1 to 9-5."""

    STA1 = "Sta1"  # idle
    STA2 = "Sta2"  # acceptor: connection open, awaiting A-ASSOCIATE-RQ
    STA3 = "Sta3"  # acceptor: awaiting the local answer to A-ASSOCIATE-RQ
    STA4 = "Sta4"  # requestor: awaiting the connection
    STA5 = "Sta5"  # requestor: awaiting A-ASSOCIATE-AC or -RJ
    STA6 = "Sta6"  # established
    STA7 = "Sta7"  # awaiting A-RELEASE-RP
    STA8 = "Sta8"  # awaiting the local answer to A-RELEASE-RQ
    STA9 = "Sta9"  # release collision, requestor: awaiting the local answer
    STA10 = "Sta10"  # release collision, acceptor: awaiting A-RELEASE-RP
    STA11 = "Sta11"  # release collision, requestor: awaiting A-RELEASE-RP
    STA12 = "Sta12"  # release collision, acceptor: awaiting the local answer
    STA13 = "Sta13"  # awaiting the connection's end; the association no longer exists


class Trigger(Enum):
    """The events of PS3.8 Table 9-10."""

    ASSOCIATE_REQUEST = "Evt1"  # local user
    CONNECTION_CONFIRMED = "Evt2"
    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTION_INDICATION = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ACCEPT = "Evt7"  # local user
    REJECT = "Evt8"  # local user
    P_DATA_REQUEST = "Evt9"  # local user
    P_DATA_TF = "Evt10"
    RELEASE_REQUEST = "Evt11"  # local user
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    RELEASE_RESPONSE = "Evt14"  # local user
    ABORT_REQUEST = "Evt15"  # local user
    ABORT = "Evt16"
    CONNECTION_CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1"  # issue TRANSPORT CONNECT request
    AE_2 = "AE-2"  # send A-ASSOCIATE-RQ
    AE_3 = "AE-3"  # issue A-ASSOCIATE confirmation (accept)
    AE_4 = "AE-4"  # issue A-ASSOCIATE confirmation (reject), close the connection
    AE_5 = "AE-5"  # start ARTIM
    AE_6 = "AE-6"  # stop ARTIM; issue A-ASSOCIATE indication, or send A-ASSOCIATE-RJ and start ARTIM
    AE_7 = "AE-7"  # send A-ASSOCIATE-AC
    AE_8 = "AE-8"  # send A-ASSOCIATE-RJ, start ARTIM
    DT_1 = "DT-1"  # send P-DATA-TF
    DT_2 = "DT-2"  # issue P-DATA indication
    AR_1 = "AR-1"  # send A-RELEASE-RQ
    AR_2 = "AR-2"  # issue A-RELEASE indication
    AR_3 = "AR-3"  # issue A-RELEASE confirmation, close the connection
    AR_4 = "AR-4"  # send A-RELEASE-RP, start ARTIM
    AR_5 = "AR-5"  # stop ARTIM
    AR_6 = "AR-6"  # issue P-DATA indication
    AR_7 = "AR-7"  # send P-DATA-TF
    AR_8 = "AR-8"  # issue A-RELEASE indication (collision)
    AR_9 = "AR-9"  # send A-RELEASE-RP
    AR_10 = "AR-10"  # issue A-RELEASE confirmation
    AA_1 = "AA-1"  # send A-ABORT, start or restart ARTIM
    AA_2 = "AA-2"  # stop ARTIM, close the connection
    AA_3 = "AA-3"  # issue A-ABORT or A-P-ABORT indication, close the connection
    AA_4 = "AA-4"  # issue A-P-ABORT indication
    AA_5 = "AA-5"  # stop ARTIM
    AA_6 = "AA-6"  # ignore the PDU
    AA_7 = "AA-7"  # send A-ABORT
    AA_8 = "AA-8"  # send A-ABORT (service provider), issue A-P-ABORT indication, start ARTIM


# Columns Sta1 to Sta13; "." is an empty cell.
_TABLE = """
Evt1   AE-1  .     .     .     .     .     .     .     .     .     .     .     .
Evt2   .     .     .     AE-2  .     .     .     .     .     .     .     .     .
Evt3   .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4   .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5   AE-5  .     .     .     .     .     .     .     .     .     .     .     .
Evt6   .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7   .     .     AE-7  .     .     .     .     .     .     .     .     .     .
Evt8   .     .     AE-8  .     .     .     .     .     .     .     .     .     .
Evt9   .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
Evt10  .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11  .     .     .     .     .     AR-1  .     .     .     .     .     .     .
Evt12  .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13  .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14  .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
Evt15  .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
Evt16  .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17  .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18  .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
Evt19  .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _read_table() -> dict[tuple[Trigger, State], Action]:
    transitions: dict[tuple[Trigger, State], Action] = {}
    for line in _TABLE.strip().splitlines():
        trigger, *cells = line.split()
        for state, cell in zip(State, cells, strict=True):
            if cell != ".":
                transitions[Trigger(trigger), state] = Action(cell)
    return transitions


TRANSITIONS: Mapping[tuple[Trigger, State], Action] = _read_table()

# Where two states stand, the first is the usual one: AE-6 goes to Sta13 where it rejects; AR-8 goes to Sta9
# on the association-requestor's side and to Sta10 on the acceptor's.
NEXT_STATES: Mapping[Action, tuple[State, ...]] = {
    Action.AE_1: (State.STA4,),
    Action.AE_2: (State.STA5,),
    Action.AE_3: (State.STA6,),
    Action.AE_4: (State.STA1,),
    Action.AE_5: (State.STA2,),
    Action.AE_6: (State.STA3, State.STA13),
    Action.AE_7: (State.STA6,),
    Action.AE_8: (State.STA13,),
    Action.DT_1: (State.STA6,),
    Action.DT_2: (State.STA6,),
    Action.AR_1: (State.STA7,),
    Action.AR_2: (State.STA8,),
    Action.AR_3: (State.STA1,),
    Action.AR_4: (State.STA13,),
    Action.AR_5: (State.STA1,),
    Action.AR_6: (State.STA7,),
    Action.AR_7: (State.STA8,),
    Action.AR_8: (State.STA9, State.STA10),
    Action.AR_9: (State.STA11,),
    Action.AR_10: (State.STA12,),
    Action.AA_1: (State.STA13,),
    Action.AA_2: (State.STA1,),
    Action.AA_3: (State.STA1,),
    Action.AA_4: (State.STA1,),
    Action.AA_5: (State.STA1,),
    Action.AA_6: (State.STA13,),
    Action.AA_7: (State.STA13,),
    Action.AA_8: (State.STA13,),
}
