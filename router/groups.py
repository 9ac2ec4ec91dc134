"""Groups of destinations: which queues a group has, who takes from them, and where a study is at home. Pure.

A group has no lane and no address. Its deliveries stand in queues of its own in the ledger, under its name,
and the lanes of its members take from these as they do from their own:

- ``first_of`` has one queue, ``safe``. Whoever is the first of its members that is available takes from it.
- ``one_of`` has a queue for each member, ``both/pacs1``: the studies that are at home there. Each is taken
  from by the first available member in an order that begins with that home.

So a delivery is never assigned to a member before that member sends it. When a member goes down nothing is
moved: what waits is taken by another one from then on, and by the first again when it is back. Nothing is
sent twice, because a lease in the ledger is had by one lane; nothing is stranded, because every queue has
every member in its order, and the one nobody else precedes takes even while it is down, for its probe. The
alternative, to name the member when an instance is routed and rename on failure, has to get every race
between routing, leases and renaming right, for the same result.

A study's home is chosen when its first instance is routed, by rendezvous hashing (Thaler and Ravishankar,
1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016): of the members that are up and do not
have much more outstanding than the average, the one that the study's hash likes best. The plain least
outstanding would need a durable memory of studies to be sticky over a restart; so the hash is the memory
where loads are even, and what was chosen otherwise is remembered for the latest studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import xxhash

from router.config.settings import Group
from router.dicom.header import Header
from router.dicom.tagpath import parse
from router.model import Decision, DeliveryState, QueueDepth, RuleTrace

GROUP = "group"  # in the place of a rule's name, before the group's
STUDY = parse("StudyInstanceUID")
SEPARATOR = "/"  # of group and member in a queue's name; no name of the configuration has it
STUDIES_MAX = 4096  # remembered for each gateway: more than are under way at once in a hospital
LOAD_FACTOR = 1.25  # of the average, over which a member gets no new studies
LOAD_SLACK = 64  # instances; below it loads are even


def queues_of(name: str, group: Group) -> dict[str, tuple[str, ...]]:
    """The queues of a group: the name of each, and its members in the order in which they may take."""
    if group.first_of:
        return {name: group.first_of}
    members = group.one_of
    return {
        f"{name}{SEPARATOR}{member}": members[place:] + members[:place]
        for place, member in enumerate(members)
    }


def group_of(queue: str, groups: Mapping[str, Group]) -> str | None:
    """The group to which a queue in the ledger belongs, by its name: also one that it has no longer."""
    name = queue.partition(SEPARATOR)[0]
    return name if name in groups else None


def may_take(order: Sequence[str], member: str, is_available: Callable[[str], bool]) -> bool:
    """Whether ``member`` may take from a queue: nobody before it in the queue's order is available.

    A member that is not available itself may, too: it takes only to find out whether it is again.
    """
    for earlier in order:
        if earlier == member:
            return True
        if is_available(earlier):
            return False
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A member as it stands when a study needs a home."""

    name: str
    is_up: bool
    outstanding: int  # deliveries that wait for it or are under way


def choose_home(study: str, candidates: Sequence[Candidate]) -> str:
    """Where a new study is at home. ``candidates`` must not be empty."""
    up = [one for one in candidates if one.is_up] or list(candidates)
    bound = LOAD_FACTOR * sum(one.outstanding for one in up) / len(up) + LOAD_SLACK
    liked = sorted(up, key=lambda one: _liking(study, one.name), reverse=True)
    return next(one.name for one in liked if one.outstanding <= bound)


def _liking(study: str, member: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{study}\0{member}".encode(errors="replace"))


def outstanding(depths: Iterable[QueueDepth]) -> dict[str, int]:
    """How much waits or is under way in each queue."""
    found: dict[str, int] = {}
    for depth in depths:
        if depth.state in (DeliveryState.PENDING, DeliveryState.ACTIVE):
            found[depth.destination] = found.get(depth.destination, 0) + depth.count
    return found


def study_of(header: Header, sop_instance_uid: str) -> str:
    """What keeps together: a study, or an instance by itself where it names none."""
    values = header.values(STUDY)
    return str(values[0]) if values else sop_instance_uid


class Balance:
    """Gives studies their homes, for every ``one_of`` group. Its memory is bounded."""

    def __init__(
        self, groups: Mapping[str, Group], is_up: Callable[[str], bool] = lambda _member: True
    ) -> None:
        self._groups = {name: group.one_of for name, group in groups.items() if group.one_of}
        self._orders = {name: group.first_of for name, group in groups.items() if group.first_of}
        self._is_up = is_up
        self._homes: dict[tuple[str, str], str] = {}
        self._outstanding: dict[str, int] = {}

    def wrote(self, rule: str) -> bool:
        """Whether a line of a trace is about a group, not a rule."""
        word, _, name = rule.partition(" ")
        return word == GROUP and (name in self._groups or name in self._orders)

    @property
    def needs_study(self) -> bool:
        """Whether somebody has to read the StudyInstanceUID."""
        return bool(self._groups)

    def loaded(self, outstanding: Mapping[str, int]) -> None:
        """How many deliveries are outstanding in each queue, as the ledger counts them now and then."""
        self._outstanding = dict(outstanding)

    def resolve(self, decision: Decision, study: str) -> Decision:
        """The decision with queues in the place of groups, and a line in its trace for each group.

        ``study`` is the StudyInstanceUID, or where there is none the SOP Instance UID.
        """
        destinations: dict[str, None] = {}
        queue_of: dict[str, str] = {}
        trace: list[RuleTrace] = []
        for name in decision.destinations:
            if name in self._groups:
                home, because = self._home(name, study)
                queue_of[name] = f"{name}{SEPARATOR}{home}"
                destinations[queue_of[name]] = None
                trace.append(RuleTrace(rule=f"{GROUP} {name}", matched=True, because=because))
            else:
                destinations[name] = None
                if name in self._orders:
                    because = f"the first of {', '.join(self._orders[name])} that is up"
                    trace.append(RuleTrace(rule=f"{GROUP} {name}", matched=True, because=because))
        if not trace:
            return decision
        return Decision(
            destinations=tuple(destinations),
            priority=decision.priority,
            hold=decision.hold,
            trace=(*decision.trace, *trace),
            forms=tuple((queue_of.get(name, name), form) for name, form in decision.forms),
            edits=tuple((queue_of.get(name, name), edits) for name, edits in decision.edits),
        )

    def _home(self, group: str, study: str) -> tuple[str, str]:
        members = self._groups[group]
        home = self._homes.pop((group, study), None)
        is_new = home is None
        if home is None:
            home = choose_home(study, [self._candidate(group, member) for member in members])
        self._homes[group, study] = home
        if len(self._homes) > STUDIES_MAX:
            del self._homes[next(iter(self._homes))]
        queue = f"{group}{SEPARATOR}{home}"
        self._outstanding[queue] = self._outstanding.get(queue, 0) + 1
        reason = "chosen for this study" if is_new else "where this study goes"
        return home, f"one of {', '.join(members)}: {home}, {reason}"

    def _candidate(self, group: str, member: str) -> Candidate:
        queues: Iterable[str] = (f"{group}{SEPARATOR}{member}", member)
        return Candidate(
            name=member,
            is_up=self._is_up(member),
            outstanding=sum(self._outstanding.get(queue, 0) for queue in queues),
        )
