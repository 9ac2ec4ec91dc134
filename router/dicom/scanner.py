"""Walks over a raw data set and picks out the elements asked for, as they lie (PS3.5 §7).

Nothing is decoded and nothing is copied but what was asked for; the walk stops behind the last tag asked.
This loop runs once for each instance that any rule looks at: on a CT header of 256 elements it takes some
50 µs where reading the header with pydicom takes 750. ``router.dicom.header`` is its only caller.

What it bears, because it is met (and because pydicom, the oracle of its tests, bears it too): items and whole
sequences in implicit VR inside explicit VR (PS3.5 §6.2.2, and some writers beyond it), unknown VRs, an
element twice (the later one counts). What it does not bear is :class:`NotUnderstood`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.dicom.encoding import BIG, ITEM, ITEM_END, LITTLE, NESTING_CAP, SEQUENCE_END, UNDEFINED
from router.dicom.tagpath import TagPath
from router.model import Buffer

VALUE_CAP_BYTES = 65536  # the longest value that a rule may look at; a longer one is present, without values
CHARACTER_SET = 0x00080005
_NO_GROUP = 0x10000  # beyond every group


class NotUnderstood(ValueError):
    """The bytes are not what a data set in this encoding looks like."""


class TooDeep(NotUnderstood):
    """Sequences are nested deeper than anybody means: nobody else should be made to read it either."""


class RanOut(Exception):
    """The bytes ended before the walk was past the last tag asked."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One element as it lies in the data set. ``value`` is None where it has none to compare: a sequence,
    or longer than :data:`VALUE_CAP_BYTES`.
    """

    tag: int
    vr: str  # empty: implicit VR
    value: bytes | None
    character_set: bytes
    is_little: bool
    creator: str


@dataclass(slots=True)
class Target:
    """What is asked of one element: its own value for some paths, something in its items for others."""

    slots: list[int] = field(default_factory=list)  # where in ``Walk.found`` its value goes
    inside: list[Plan] = field(default_factory=list)  # several only where two spellings met in one element
    creator: str = ""


@dataclass(slots=True)
class Plan:
    """What is asked of one data set, and of those in its sequences."""

    targets: dict[int, Target] = field(default_factory=dict)
    creators: dict[int, dict[str, dict[int, Target]]] = field(
        default_factory=dict
    )  # group, creator, low byte
    groups: frozenset[int] = frozenset()
    last: int = 0  # the last tag that can be of interest


def plan_for(asked: tuple[TagPath, ...]) -> Plan:
    """The plan for some paths; a path's position is its slot in :attr:`Walk.found`."""
    top = Plan()
    for slot, path in enumerate(asked):
        plan = top
        for step in path.steps:
            if step.creator:
                of_creator = plan.creators.setdefault(step.group, {}).setdefault(step.creator, {})
                target = of_creator.setdefault(step.tag & 0xFF, Target(creator=step.creator))
            else:
                target = plan.targets.setdefault(step.tag, Target())
            if step is path.steps[-1]:
                target.slots.append(slot)
            else:
                if not target.inside:
                    target.inside.append(Plan())
                plan = target.inside[0]
    _close(top)
    return top


def _close(plan: Plan) -> None:
    """Add what the walk itself needs (the character set), and where the walk may stop."""
    plan.targets.setdefault(CHARACTER_SET, Target())
    tags = [*plan.targets, *(group << 16 | 0xFFFF for group in plan.creators)]
    plan.last = max(tags)
    plan.groups = frozenset(tag >> 16 for tag in tags)
    of_creators = [
        t for by_name in plan.creators.values() for by_low in by_name.values() for t in by_low.values()
    ]
    for target in (*plan.targets.values(), *of_creators):
        for inside in target.inside:
            _close(inside)


@dataclass(slots=True)
class _Level:
    """The state of one data set under way: the whole, or one item."""

    targets: dict[int, Target]
    creators: dict[int, dict[str, dict[int, Target]]]
    character_set: bytes
    taken: dict[tuple[int, int], int] = field(default_factory=dict)  # (tag, slot) -> where it lies there


_NOTHING = Plan()


class Walk:
    """One walk. :attr:`found` has the elements for each path; what was found stands when the walk fails."""

    __slots__ = ("_data", "_order", "_size", "found", "stopped_at")

    def __init__(self, data: Buffer, *, is_little: bool, slots: int) -> None:
        self._data = data
        self._size = len(data)
        self._order = LITTLE if is_little else BIG
        self.found: list[list[Raw]] = [[] for _ in range(slots)]
        self.stopped_at = 0

    def run(self, plan: Plan, *, is_explicit: bool) -> bool:
        """Walk over the whole. Returns whether it came past the last tag asked; if not, the data set ended.

        Raises :class:`NotUnderstood`, and :class:`RanOut` where the bytes end inside an element.
        """
        at = self._data_set(0, self._size, plan, b"", is_explicit=is_explicit, may_stop=True, depth=0)
        self.stopped_at = at
        if at < self._size - 7:
            return True
        if at != self._size:
            raise RanOut
        return False

    def _data_set(
        self,
        at: int,
        end: int,
        plan: Plan,
        character_set: bytes,
        *,
        is_explicit: bool,
        may_stop: bool,
        depth: int,
    ) -> int:
        """Walk over one data set: returns where it ended, or where it could stop."""
        if depth > NESTING_CAP:
            raise TooDeep(f"sequences are nested more than {NESTING_CAP} deep")
        level = _Level(dict(plan.targets) if plan.creators else plan.targets, plan.creators, character_set)
        walk = self._explicit if is_explicit else self._implicit
        return walk(at, end, plan, level, may_stop, depth)

    def _explicit(self, at: int, end: int, plan: Plan, level: _Level, may_stop: bool, depth: int) -> int:
        data, unpack, short_vrs = self._data, self._order.explicit.unpack_from, self._order.short_vrs
        groups, targets, creators = plan.groups, level.targets, plan.creators
        last, last_group = (plan.last, plan.last >> 16) if may_stop else (_NO_GROUP << 16, _NO_GROUP)
        limit = end - 8
        while at <= limit:
            group, element, vr, length = unpack(data, at)
            if vr in short_vrs:
                if group in groups:
                    tag = group << 16 | element
                    if tag > last:
                        return at
                    if tag in targets or group in creators:
                        self._take(tag, at + 8, length, short_vrs[vr], level)
                elif group > last_group:
                    return at
                at += 8 + length
                continue
            tag = group << 16 | element
            if tag == ITEM_END:
                return at + 8
            if tag > last:
                return at
            at = self._odd_one(at, end, tag, vr, level, depth)
        return at

    def _odd_one(self, at: int, end: int, tag: int, vr: int, level: _Level, depth: int) -> int:
        """An element in explicit VR that has a 32-bit length, or a VR that does not exist."""
        if vr in self._order.long_vrs:
            if at + 12 > end:
                raise RanOut
            (length,) = self._order.length.unpack_from(self._data, at + 8)
            return self._long(tag, at + 12, length, self._order.long_vrs[vr], level, depth)
        letters = bytes(self._data[at + 4 : at + 6])
        if letters.isalpha() and letters.isupper():
            # As pydicom has it: taken for a VR to come, with a 16-bit length.
            length = self._order.explicit.unpack_from(self._data, at)[3]
            if tag in level.targets:
                self._take(tag, at + 8, length, "UN", level)
            return at + 8 + int(length)
        (length,) = self._order.length.unpack_from(self._data, at + 4)
        return self._long(tag, at + 8, length, "", level, depth)

    def _implicit(self, at: int, end: int, plan: Plan, level: _Level, may_stop: bool, depth: int) -> int:
        data, unpack = self._data, self._order.implicit.unpack_from
        groups, last = plan.groups, plan.last if may_stop else _NO_GROUP << 16
        limit = end - 8
        while at <= limit:
            group, element, length = unpack(data, at)
            tag = group << 16 | element
            if tag == ITEM_END:
                return at + 8
            if tag > last:
                return at
            if length == UNDEFINED or group in groups:
                at = self._long(tag, at + 8, length, "", level, depth)
            else:
                at += 8 + length
        return at

    def _long(self, tag: int, at: int, length: int, vr: str, level: _Level, depth: int) -> int:
        """An element that may be a sequence or of undefined length: returns where the next one begins."""
        target = level.targets.get(tag)
        inside = target.inside if target else []
        if length != UNDEFINED and not inside:
            if target is not None or tag >> 16 in level.creators:
                self._take(tag, at, length, vr, level)
            return at + length
        if target is not None:
            self._put(target, Raw(tag, vr, None, b"", self._order.is_little, target.creator), tag, level)
        if length != UNDEFINED and (vr not in ("SQ", "UN", "") or not self._is_item(at, length)):
            return at + length  # asked for as a sequence, and is none
        # An UN of undefined length holds implicit VR (PS3.5 §6.2.2 note 2); each item is looked at.
        is_explicit = vr not in ("", "UN")
        for plan in inside[1:]:
            self._items(at, length, plan, level.character_set, is_explicit, depth)
        first = inside[0] if inside else None
        return self._items(at, length, first, level.character_set, is_explicit, depth)

    def _is_item(self, at: int, length: int) -> bool:
        if length < 8 or at + 8 > self._size:
            return False
        group, element, _ = self._order.implicit.unpack_from(self._data, at)
        return bool(group << 16 | element == ITEM)

    def _items(
        self, at: int, length: int, inside: Plan | None, character_set: bytes, is_explicit: bool, depth: int
    ) -> int:
        """Walk over the items of a sequence, or the fragments of encapsulated pixel data."""
        end = UNDEFINED if length == UNDEFINED else at + length
        while at < end:
            if at + 8 > self._size:
                raise RanOut
            group, element, length = self._order.implicit.unpack_from(self._data, at)
            tag = group << 16 | element
            at += 8
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM:
                raise NotUnderstood(f"({group:04X},{element:04X}) stands where an item should")
            if length != UNDEFINED and inside is None:
                at += length
                continue
            item_end = min(end, self._size) if length == UNDEFINED else at + length
            if item_end > end:
                raise NotUnderstood("an item is longer than its sequence")
            ended_at = self._data_set(
                at,
                min(item_end, self._size),
                inside or _NOTHING,
                character_set,
                is_explicit=is_explicit and self._looks_explicit(at),
                may_stop=length != UNDEFINED,
                depth=depth + 1,
            )
            if item_end > self._size:
                raise RanOut
            at = ended_at if length == UNDEFINED else item_end
        return at

    def _looks_explicit(self, at: int) -> bool:
        letters = bytes(self._data[at + 4 : at + 6])
        return not letters or (letters.isalpha() and letters.isupper()) or letters == b"\0\0"

    def _take(self, tag: int, at: int, length: int, vr: str, level: _Level) -> None:
        """Keep one element's value, and what follows from it for those behind it."""
        end = at + length
        is_whole = end <= self._size
        value = bytes(self._data[at:end]) if is_whole and length <= VALUE_CAP_BYTES else None
        if tag == CHARACTER_SET:
            level.character_set = (value or b"").strip(b" \0")
        elif level.creators and 0x0010 <= tag & 0xFFFF <= 0x00FF:
            self._reserve(tag, value or b"", level)
        target = level.targets.get(tag)
        if target is not None and target.slots:
            raw = Raw(tag, vr, value, level.character_set, self._order.is_little, target.creator)
            self._put(target, raw, tag, level)
        if not is_whole and length <= VALUE_CAP_BYTES:
            raise RanOut

    def _put(self, target: Target, raw: Raw, tag: int, level: _Level) -> None:
        for slot in target.slots:
            raws = self.found[slot]
            place = level.taken.get((tag, slot))
            if place is None:
                level.taken[tag, slot] = len(raws)
                raws.append(raw)
            else:  # twice in one data set: the later one counts
                raws[place] = raw

    def _reserve(self, tag: int, creator: bytes, level: _Level) -> None:
        """A private creator (PS3.5 §7.8.1): its elements now have known tags in this data set."""
        by_name = level.creators.get(tag >> 16, {})
        for low, target in by_name.get(creator.decode("latin-1").strip(" \0"), {}).items():
            private = (tag & 0xFFFF0000) | (tag & 0xFF) << 8 | low
            same = level.targets.get(private)
            if same is None:
                level.targets[private] = target
            else:  # asked for by its number as well
                level.targets[private] = Target(
                    [*same.slots, *target.slots], [*same.inside, *target.inside], target.creator
                )
