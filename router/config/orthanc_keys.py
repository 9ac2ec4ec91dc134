"""Orthanc's spelling of a modality: ``[AET, Host, Port, Manufacturer]``, or ``AET``, ``AllowStore`` ...

Rewritten to our own keys before anything else looks at them, so that what is wrong is still told at the place
where it was written. In Orthanc ``AllowX: false`` forbids what comes in; here, as design.md has it, it
forbids X both ways.
"""

from __future__ import annotations

from collections.abc import Iterator

from router.config.settings import ALL_OPERATIONS, Operation
from router.config.yaml_nodes import Block, Listing, Mark, Node, Problems, Scalar

_RENAMED = {"AET": "ae_title", "Host": "host", "Port": "port"}
_ARRAY = ("AET", "Host", "Port", "Manufacturer")
_ALLOWED = {
    "AllowEcho": Operation.ECHO,
    "AllowStore": Operation.STORE,
    "AllowFind": Operation.FIND,
    "AllowMove": Operation.MOVE,
    "AllowGet": Operation.GET,
    "AllowStorageCommitment": Operation.COMMIT,
    "AllowNAction": Operation.COMMIT,
    "AllowEventReport": Operation.COMMIT,
}
# What can only be honoured where it asks for what the gateway does anyway: these values, or it is refused.
_HARMLESS: dict[str, tuple[object, ...]] = {
    "AllowFindWorklist": (True, False),  # no worklists are offered
    "RetrieveMethod": ("SystemDefault",),
}
_MANUFACTURERS = frozenset(
    "Generic GenericNoWildcardInDates GenericNoUniversalWildcard Vitrea GE SiemensSyngoCT AgfaImpax SyngoVia "
    "EFilm2 MedInria ClearCanvas Dcm4Chee".split()
)
KEYS = (
    *_RENAMED, *_ALLOWED, *_HARMLESS, "AllowTranscoding", "Manufacturer", "LocalAet", "Timeout", "UseDicomTls"
)  # fmt: skip


def in_our_keys(entry: Node, problems: Problems) -> Node:
    """A modality's entry in our own keys; one that has none of Orthanc's as it is."""
    if isinstance(entry, Listing):
        if len(entry.items) not in (3, 4):
            problems.add(
                entry.mark, "a modality as a list is [AET, Host, Port] or [AET, Host, Port, Manufacturer]"
            )
            return Block(mark=entry.mark, entries=())
        pairs = zip(_ARRAY, entry.items, strict=False)
        entry = Block(mark=entry.mark, entries=tuple((_name(key, item.mark), item) for key, item in pairs))
    if not isinstance(entry, Block) or not set(KEYS).intersection(entry.keys):
        return entry
    forbidden: set[Operation] = set()
    entries = _one_deliver(list(_entries(entry, forbidden, problems)))
    if forbidden:
        entries = [*_without(entries, forbidden, entry.mark)]
    return Block(mark=entry.mark, entries=tuple(entries))


def _entries(entry: Block, forbidden: set[Operation], problems: Problems) -> Iterator[tuple[Scalar, Node]]:
    for key, value in entry.entries:
        given = value.value if isinstance(value, Scalar) else value
        ours = _RENAMED.get(key.text)
        if ours is not None:
            if entry.get(ours) is not None:
                problems.add(key.mark, f"{key.text} is Orthanc's name for {ours}, which stands here as well")
            yield _name(ours, key.mark), value
        elif key.text in _ALLOWED:
            if not isinstance(given, bool):
                problems.add(value.mark, f"{key.text} must be true or false")
            elif not given:
                forbidden.add(_ALLOWED[key.text])
        elif key.text in _HARMLESS:
            if given not in _HARMLESS[key.text]:
                problems.add(
                    key.mark, f"{key.text} is not supported yet by this version, except as its default"
                )
        elif key.text == "Manufacturer":  # only about queries: what it would have left out of them
            if given not in _MANUFACTURERS:
                problems.add(value.mark, f"{_shown(given)} is no manufacturer that Orthanc knows")
        elif key.text == "LocalAet":
            if given != "":  # empty: the default
                yield _name("local_ae_title", key.mark), value
        elif key.text == "AllowTranscoding":
            yield (
                _name("deliver", key.mark),
                Block(mark=key.mark, entries=((_name("transcode", key.mark), value),)),
            )
        elif key.text == "UseDicomTls":
            if not isinstance(given, bool):
                problems.add(value.mark, f"{key.text} must be true or false")
            elif given and entry.get("tls") is None:  # with the identity and trust of all, as Orthanc has one
                yield _name("tls", key.mark), Block(mark=value.mark, entries=())
        elif key.text == "Timeout":
            if given != 0:  # 0: the default
                yield _name("deliver", key.mark), _timeouts(value, key.mark)
        else:
            yield key, value


def _one_deliver(entries: list[tuple[Scalar, Node]]) -> list[tuple[Scalar, Node]]:
    """What several of Orthanc's keys, and perhaps our own, say about deliveries, as one mapping."""
    inner: list[tuple[Scalar, Node]] = []
    others: list[tuple[Scalar, Node]] = []
    first: Scalar | None = None
    for key, value in entries:
        if key.text == "deliver" and isinstance(value, Block):
            first = first or key
            inner.extend(value.entries)
        else:
            others.append((key, value))
    if first is not None:
        others.append((first, Block(mark=first.mark, entries=tuple(inner))))
    return others


def _timeouts(seconds: Node, mark: Mark) -> Block:
    keys = ("connect_timeout", "response_timeout")
    return Block(mark=mark, entries=tuple((_name(key, mark), seconds) for key in keys))


def _without(
    entries: list[tuple[Scalar, Node]], forbidden: set[Operation], mark: Mark
) -> Iterator[tuple[Scalar, Node]]:
    """``accept`` and ``send``, as given or else everything, without what an ``AllowX: false`` forbids."""
    everything = Listing(mark=mark, items=tuple(_name(operation, mark) for operation in ALL_OPERATIONS))
    given = {key.text: (key, value) for key, value in entries}
    yield from (pair for name, pair in given.items() if name not in ("accept", "send"))
    for name in ("accept", "send"):
        key, value = given.get(name, (_name(name, mark), everything))
        if isinstance(value, Listing):
            left = tuple(i for i in value.items if not (isinstance(i, Scalar) and i.text in forbidden))
            value = Listing(mark=value.mark, items=left)
        yield key, value


def _name(text: str, mark: Mark) -> Scalar:
    return Scalar(mark=mark, text=str(text), value=str(text))


def _shown(given: object) -> str:
    return repr(given) if isinstance(given, str | int | float) else "this"
