"""Which SOP classes a peer has of something: asked down to the instances, or told by modalities."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from router.dicom.get_contexts import classes_of
from router.dicom.query import Query, parse_keys, retrieve_query
from router.dicom.tagpath import parse
from router.errors import AssociationError
from router.query import survey as survey_module
from router.query.survey import Survey, survey
from tests.dicom.wire import CT, MR
from tests.query.peers import PATIENCE_S, Peer, Talk, listening

ARCHIVE: Mapping[str, Mapping[str, tuple[str, Mapping[str, str]]]] = {  # study -> series -> instances
    "1.1": {"1.1.1": ("CT", {"1.1.1.1": CT, "1.1.1.2": CT}), "1.1.2": ("MR", {"1.1.2.1": MR})},
    "1.2": {"1.2.1": ("MR", {"1.2.1.1": MR, "1.2.1.2": MR})},
}


class Archive:
    """Answers like one. ``says_classes``: (0008,0016) is answered at the instance level."""

    def __init__(self, *, says_classes: bool = True, status: int = 0x0000, modality: str = "") -> None:
        self.says_classes = says_classes
        self.status = status
        self.modality = modality

    async def __call__(self, talk: Talk) -> None:
        asked = {one.name: tuple(map(str, one.values)) for one in talk.asked.attributes}
        (level,) = asked["QueryRetrieveLevel"]
        for study, series in ARCHIVE.items():
            if asked.get("StudyInstanceUID") not in ((), None, (study,)):
                continue
            if level == "STUDY":
                await talk.match(f"StudyInstanceUID={study}")
                continue
            for uid, (modality, instances) in series.items():
                if asked.get("SeriesInstanceUID") not in ((), None, (uid,)):
                    continue
                if level == "SERIES":
                    await talk.match(f"SeriesInstanceUID={uid}", f"Modality={self.modality or modality}")
                    continue
                for instance, sop_class in instances.items():
                    if asked.get("SOPInstanceUID") and instance not in asked["SOPInstanceUID"]:
                        continue
                    known = [f"SOPClassUID={sop_class}"] if self.says_classes else []
                    await talk.match(f"SOPInstanceUID={instance}", *known)
        await talk.respond(self.status)


def what(*keys: str) -> Query:
    return retrieve_query(parse_keys(keys))


async def look(archive: Archive, query: Query) -> tuple[Survey, Peer]:
    peer = Peer(archive)
    async with listening(peer) as target:
        return await survey(target, query, timeout_s=PATIENCE_S), peer


@pytest.mark.parametrize(
    ("keys", "classes", "instances", "questions"),
    [
        (["PatientID=1"], (MR, CT), 5, 1 + 2 + 3),
        (["StudyInstanceUID=1.1"], (CT, MR), 3, 1 + 2),
        (["StudyInstanceUID=1.1\\1.2"], (MR, CT), 5, 2 + 3),
        (["StudyInstanceUID=1.1", "SeriesInstanceUID=1.1.1"], (CT,), 2, 1 + 1),
        (["StudyInstanceUID=1.1", "SeriesInstanceUID=1.1.1", "SOPInstanceUID=1.1.1.2"], (CT,), 1, 1 + 1),
        (["StudyInstanceUID=9"], (), 0, 1),
    ],
)
async def test_what_there_is(
    keys: list[str], classes: tuple[str, ...], instances: int, questions: int
) -> None:
    found, peer = await look(Archive(), what(*keys))
    assert found == Survey(sop_class_uids=classes, instances=instances)
    assert len(peer.talks) == questions
    assert len(peer.requests) == 1
    for talk in peer.talks:  # what is above is always named by one value
        assert len(talk.asked.values(parse("StudyInstanceUID"))) <= 1


@pytest.mark.parametrize(
    "keys",
    [
        ["StudyInstanceUID=1.1"],
        ["StudyInstanceUID=1.1", "SeriesInstanceUID=1.1.1\\1.1.2"],
    ],
)
async def test_modalities_tell_where_classes_are_not_said(keys: list[str]) -> None:
    found, _ = await look(Archive(says_classes=False), what(*keys))
    assert found == Survey(sop_class_uids=classes_of(["CT", "MR"]), instances=3)


async def fail(archive: Archive, said: str) -> None:
    async with listening(Peer(archive)) as target:
        with pytest.raises(AssociationError, match=said):
            await survey(target, what("StudyInstanceUID=1.1"), timeout_s=PATIENCE_S)


async def test_neither_is_said() -> None:
    await fail(Archive(says_classes=False, modality="XX"), "does not say of which SOP classes")


async def test_a_peer_that_fails() -> None:
    await fail(Archive(status=0xC000), "does not answer")


async def test_there_is_an_end_to_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "MOST_QUESTIONS", 2)
    await fail(Archive(), "more than 2 series")
