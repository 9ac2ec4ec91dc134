from __future__ import annotations

from pathlib import Path

import pytest

from router.config.settings import Group, Modality, Settings
from router.dicom.query import parse_keys, retrieve_query
from router.model import Edit, EditKind
from router.query.reach import destination_of, may_see, sent_edited
from router.query.retrieve import move
from router.rules import RuleSet
from router.rules.ruleset import Rule
from tests.query.answering import PATIENCE_S, bench, put

EDITS = (Edit(kind=EditKind.REMOVE, path="PatientName"),)


def rule(*send: str, edits: tuple[Edit, ...] = ()) -> Rule:
    return Rule(
        name="a rule", when=None, unless=None, send=send, priority=None, stop=False, transcode=None,
        place="", edits=edits,
    )  # fmt: skip


def modality(ae_title: str) -> Modality:
    return Modality(ae_title=ae_title, host="127.0.0.1", port=1)


RULES = RuleSet(rules=(rule("research", "both", edits=EDITS), rule("archive", "research")))
MODALITIES = {name: modality(name.upper()) for name in ("research", "archive", "one", "two")}
SETTINGS = Settings(modalities=MODALITIES, groups={"both": Group(one_of=("one", "two"))})


def test_whom_rules_send_edited_data() -> None:
    assert sent_edited(SETTINGS, RULES) == {"research", "both", "one", "two"}


@pytest.mark.parametrize(
    ("ae_title", "may"), [("RESEARCH", False), ("TWO", False), ("ARCHIVE", True), ("SOMEBODY", True)]
)
def test_they_see_nothing_else(ae_title: str, may: bool) -> None:
    assert may_see(SETTINGS, RULES, ae_title) is may
    assert may_see(SETTINGS, RuleSet(), ae_title)


def test_a_destination_by_its_ae_title() -> None:
    assert destination_of(SETTINGS, "ONE") == "one"
    assert destination_of(SETTINGS, "SOMEBODY") is None


@pytest.mark.parametrize("ae_title", ["THERE", "ASKER"])
async def test_neither_told_nor_sent(tmp_path: Path, ae_title: str) -> None:
    """THERE is to be sent to; ASKER is who asks."""
    known = {"there": modality("THERE"), "research": modality(ae_title)}
    rules = RuleSet(rules=(rule("research", edits=EDITS),))
    async with bench(tmp_path, modalities=known, rules=rules) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        query = retrieve_query(parse_keys(("StudyInstanceUID=1.2",)))
        ended = await move(one.target, query, "THERE", on_progress=lambda _: None, timeout_s=PATIENCE_S)
        assert ended.status == 0x0124
        asked, found = await one.find()
        assert (asked.status, len(found)) == ((0x0124, 0) if ae_title == "ASKER" else (0, 1))
