"""What a peer holds of what is to be retrieved: SOP classes and number of instances, asked by C-FIND.

A C-GET can bring only what its association has presentation contexts for, of which there are 128, and a peer
keeps instances in any of some 150 SOP classes and 40 transfer syntaxes. Whoever knows the classes first can
propose every transfer syntax for each, so that nothing has to be transcoded or left out. Some peers do not
say of which class an instance is; the modalities of the series then say what it may be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from router.dicom.get_contexts import classes_of
from router.dicom.identifier import Match
from router.dicom.negotiation import is_storage
from router.dicom.query import UNIQUE_KEYS, Key, Level, Model, Query, levels_of
from router.dicom.statuses import Outcome, outcome_of
from router.dicom.tagpath import parse
from router.errors import AssociationError
from router.query.exchange import Cancellation
from router.query.find import Questions, open_questions
from router.scu import Target

_SOP_INSTANCE_UID, _SOP_CLASS_UID, _MODALITY = map(parse, ("SOPInstanceUID", "SOPClassUID", "Modality"))
_ALSO_ASKED = {Level.SERIES: (Key(path=_MODALITY),), Level.INSTANCE: (Key(path=_SOP_CLASS_UID),)}
MOST_QUESTIONS = 500  # a patient of more series than that is retrieved without


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is."""

    sop_class_uids: tuple[str, ...]  # the commonest first
    instances: int


async def survey(
    target: Target, query: Query, *, timeout_s: float, cancellation: Cancellation | None = None
) -> Survey:
    """Look down from what ``query`` (a retrieval) names to its instances.

    Raises ``RouterError``: where the peer cannot be asked, and where its answers do not say.
    """
    async with open_questions(
        target, query.model, timeout_s=timeout_s, cancellation=cancellation
    ) as questions:
        return await _Walk(questions=questions, model=query.model).down(query)


@dataclass(slots=True)
class _Walk:
    questions: Questions
    model: Model
    asked: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # instances by SOP class; "": it does not say
    modalities: set[str] = field(default_factory=set)

    async def down(self, query: Query) -> Survey:
        levels = levels_of(self.model)
        places = list(_places(query))
        for level in levels[levels.index(query.level) + 1 :]:
            if level is Level.INSTANCE:
                break
            places = [place for upper in places for place in await self._below(upper, level)]
        if query.level in (Level.SERIES, Level.INSTANCE):
            for place in places:
                upper = tuple(key for key in place if key.path != _SOP_INSTANCE_UID)
                await self._ask(upper, Level.SERIES)
        for place in places:
            await self._count(place)
        ranked = tuple(sorted(self.counts, key=lambda uid: -self.counts[uid]))
        if "" in self.counts:
            ranked = classes_of(sorted(self.modalities))
            if not ranked:
                raise AssociationError("the peer does not say of which SOP classes its instances are")
        return Survey(sop_class_uids=ranked, instances=sum(self.counts.values()))

    async def _below(self, upper: tuple[Key, ...], level: Level) -> Iterable[tuple[Key, ...]]:
        """The places of one level that are in a place of the level above."""
        path = parse(UNIQUE_KEYS[level])
        found = [match.text(path) for match in await self._ask((*upper, Key(path=path)), level)]
        return [(*upper, Key(path=path, value=uid)) for uid in dict.fromkeys(filter(None, found))]

    async def _count(self, place: tuple[Key, ...]) -> None:
        is_named = any(key.path == _SOP_INSTANCE_UID for key in place)
        keys = place if is_named else (*place, Key(path=_SOP_INSTANCE_UID))
        for match in await self._ask(keys, Level.INSTANCE):
            uid = match.text(_SOP_CLASS_UID)
            known = uid if is_storage(uid) else ""
            self.counts[known] = self.counts.get(known, 0) + 1

    async def _ask(self, keys: tuple[Key, ...], level: Level) -> list[Match]:
        self.asked += 1
        if self.asked > MOST_QUESTIONS:
            raise AssociationError(f"there are more than {MOST_QUESTIONS} series")
        matches: list[Match] = []
        wanted = _ALSO_ASKED.get(level, ())
        query = Query(model=self.model, level=level, keys=(*keys, *wanted))
        ended = await self.questions.ask(query, matches.append)
        if ended.status is None or outcome_of(ended.status) is not Outcome.SUCCESS:
            raise AssociationError("the peer does not answer the question which SOP classes there are")
        if level is Level.SERIES:
            self.modalities |= {match.text(_MODALITY) for match in matches}
        return matches


def _places(query: Query) -> Iterable[tuple[Key, ...]]:
    """What is named, each by single values; a list of instances stays one, as it is asked for at once."""
    unique = parse(UNIQUE_KEYS[query.level])
    if query.level is Level.INSTANCE:
        yield query.keys
        return
    (own,) = (key for key in query.keys if key.path == unique)
    for uid in own.value.split("\\"):
        yield tuple(replace(key, value=uid) if key is own else key for key in query.keys)
