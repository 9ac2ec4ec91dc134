"""What operators are told of destinations, groups and transcodings, beside what their records say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from router.config.settings import Modality, Settings
from router.deliver.schedule import Hours
from router.dicom.syntaxes import shown
from router.groups import group_of
from router.model import DeliveryState, Reason, Transcoding
from router.views import DeliveryView


class Outlook:
    """Answers for the destinations of one configuration."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hours = {name: Hours(modality.deliver) for name, modality in settings.modalities.items()}
        self._hours |= {name: Hours(folder.deliver) for name, folder in settings.destinations.items()}

    def _members(self, name: str) -> tuple[str, ...]:
        group = group_of(name, self._settings.groups)
        return self._settings.groups[group].members if group is not None else (name,)

    def kind(self, name: str) -> str:
        """``modality``, ``folder``, ``dicomweb``, ``group``; ``removed`` is no longer configured."""
        if name in self._settings.modalities:
            return "modality"
        if name in self._settings.destinations:
            return "folder" if self._settings.destinations[name].folder is not None else "dicomweb"
        return "group" if group_of(name, self._settings.groups) is not None else "removed"

    def is_up(self, name: str, up: Mapping[str, bool]) -> bool | None:
        """Whether it answers, or any of its members; None where nothing was tried yet."""
        known = [up[member] for member in self._members(name) if member in up]
        return any(known) if known else None

    def outage(self, name: str, up: Mapping[str, bool], outages: Mapping[str, Reason]) -> Reason | None:
        """Why it is down, or the first of its members; None where it is not."""
        if self.is_up(name, up) is not False:
            return None
        return next((outages[member] for member in self._members(name) if member in outages), None)

    def opens_at(self, name: str, now: float) -> float | None:
        """When its schedule, or the first of its members', opens; None where it is open, or never does."""
        hours = [self._hours[member] for member in self._members(name) if member in self._hours]
        if any(one.is_open(now) for one in hours):
            return None
        openings = [at for one in hours if (at := one.opens_at(now)) is not None]
        return min(openings, default=None)

    def seen(self, delivery: DeliveryView, now: float) -> DeliveryView:
        """With the instant for which it waits, where its destination is closed."""
        if delivery.state is not DeliveryState.PENDING:
            return delivery
        opens_at = self.opens_at(delivery.destination, now)
        return delivery if opens_at is None else replace(delivery, opens_at=opens_at)


def describe_destination(settings: Settings, name: str) -> str:
    """Where a destination is, in one line."""
    modality = settings.modalities.get(name)
    if isinstance(modality, Modality):
        return f"{modality.ae_title}@{modality.host}:{modality.port}"
    destination = settings.destinations.get(name)
    if destination is not None:
        return destination.folder or destination.dicomweb or ""
    group = settings.groups.get(name)
    if group is not None:
        return f"{'the first of' if group.first_of else 'one of'} {', '.join(group.members)}"
    return "no longer configured"


def describe_transcoding(transcoding: Transcoding) -> str:
    """How an instance came into another form, and what proves that it is the same image."""
    took = f"in {transcoding.took_s * 1000:.0f} ms"
    edited = ", ".join(transcoding.edited) or "nothing to edit"
    if transcoding.source_uid == transcoding.target_uid:
        return f"edited {took}: {edited}; no pixel touched"
    forms = f"{shown(transcoding.source_uid)} → {shown(transcoding.target_uid)}"
    proof = "no pixel data"
    if transcoding.frames:
        same = "identical" if transcoding.is_lossless else f"lossy, off by at most {transcoding.max_error:g}"
        count = f"{transcoding.frames} frame{'' if transcoding.frames == 1 else 's'}"
        proof = f"{count} {same}, XXH3 {transcoding.frames_hash}"
    by = f", {transcoding.codecs}," if transcoding.codecs else ""
    also = f"; edited: {edited}" if transcoding.edited else ""
    return f"transcoded {forms}{by} {took}: {proof}{also}"
