"""What pydantic cannot see: groups, which refer to others, hours without a time zone, and nobody's home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from router.config.scalars import no_home
from router.config.settings import Deliver, Operation, Settings
from router.config.tls import FILES
from router.config.yaml_nodes import Block, Node, Problems, Scalar, suggestion, walk

_GROUP_KEYS = frozenset({"first_of", "one_of"})


def split_destinations(entries: list[tuple[Scalar, Node]], problems: Problems) -> list[tuple[Scalar, Node]]:
    """The configuration's entries with the groups taken out of ``destinations``, as ``groups``.

    One mapping in the file, where an operator looks for a destination by its name; two in the settings,
    because a group has no address.
    """
    split: list[tuple[Scalar, Node]] = []
    for key, value in entries:
        if key.text == "groups":
            problems.add(key.mark, "groups: unknown key; first_of and one_of stand among the destinations")
        elif key.text != "destinations" or not isinstance(value, Block):
            split.append((key, value))
        else:
            own = tuple(entry for entry in value.entries if not _is_group(entry[1]))
            groups = tuple(entry for entry in value.entries if _is_group(entry[1]))
            split.append((key, Block(mark=value.mark, entries=own)))
            name = Scalar(mark=key.mark, text="groups", value="groups")
            split.append((name, Block(mark=value.mark, entries=groups)))
    return split


def as_written(location: str) -> str:
    """A place in the settings as the file has it."""
    return "destinations" + location.removeprefix("groups") if location.startswith("groups.") else location


def _is_group(node: Node) -> bool:
    return isinstance(node, Block) and not _GROUP_KEYS.isdisjoint(node.keys)


def check_groups(settings: Settings, tree: Block, problems: Problems) -> None:
    """A group's members exist, can be sent to, and are no groups themselves."""
    known = (*settings.modalities, *settings.destinations)
    for name, group in settings.groups.items():
        mark = walk(tree, ("groups", name)).mark
        if bool(group.first_of) == bool(group.one_of):
            problems.add(mark, f"destinations.{name}: give it either first_of or one_of, with destinations")
            continue
        key = "first_of" if group.first_of else "one_of"
        for place, member in enumerate(group.members):
            mark = walk(tree, ("groups", name, key, place)).mark
            where = f"destinations.{name}.{key}.{place}"
            modality = settings.modalities.get(member)
            if member in settings.groups:
                problems.add(mark, f"{where}: {member!r} is a group itself; name its destinations instead")
            elif member not in known:
                problems.add(mark, f"{where}: unknown destination {member!r}{suggestion(member, known)}")
            elif modality is not None and Operation.STORE not in modality.send:
                problems.add(mark, f"{where}: {member!r} may not be sent to: its 'send' lacks store")
            elif member in group.members[:place]:
                problems.add(mark, f"{where}: {member!r} stands here a second time")


def check_hours(settings: Settings, tree: Block, problems: Problems) -> None:
    """Hours mean nothing without a time zone: this machine's own is rarely the hospital's."""
    delivers = [("modalities", name, modality.deliver) for name, modality in settings.modalities.items()]
    delivers += [("destinations", name, folder.deliver) for name, folder in settings.destinations.items()]
    for section, name, deliver in delivers:
        if deliver.time_zone is None and _asks_the_clock(deliver):
            key = "schedule" if deliver.schedule else "bytes_per_second"
            mark = walk(tree, (section, name, "deliver", key)).mark
            problems.add(mark, f"{section}.{name}.deliver.{key}: say in which time_zone, e.g. Europe/Berlin")


def _asks_the_clock(deliver: Deliver) -> bool:
    return bool(deliver.schedule) or not all(limit.is_always for limit in deliver.bytes_per_second)


def check_homes(settings: Settings, tree: Block, problems: Problems) -> None:
    """``~`` at the beginning of a path stands for a directory that exists."""
    for location, path in _paths(settings):
        if path.startswith("~"):
            try:
                Path(path).expanduser()
            except RuntimeError:
                where = as_written(".".join(map(str, location)))
                problems.add(walk(tree, location).mark, f"{where}: {no_home(path)}")


def _paths(settings: Settings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield ("data_dir",), str(settings.data_dir)
    for name, destination in settings.destinations.items():
        yield ("destinations", name, "folder"), destination.folder or ""
    blocks: list[tuple[tuple[str | int, ...], object]] = [(("tls",), settings.tls)]
    blocks += [(("listeners", n, "tls"), one.tls) for n, one in enumerate(settings.listeners)]
    blocks += [(("modalities", name, "tls"), one.tls) for name, one in settings.modalities.items()]
    blocks += [(("destinations", name, "tls"), one.tls) for name, one in settings.destinations.items()]
    blocks.append((("http", "tls"), settings.http.tls))
    if settings.audit is not None:
        yield ("audit", "file"), settings.audit.file or ""
        syslog = settings.audit.syslog
        blocks.append((("audit", "syslog", "tls"), syslog.tls if syslog is not None else None))
    for where, block in blocks:
        yield from (((*where, key), path) for key in FILES if (path := getattr(block, key, None)))
        yield from (((*where, "crl"), path) for path in getattr(block, "crl", ()))
