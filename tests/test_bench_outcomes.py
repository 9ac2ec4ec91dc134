"""bench.outcomes: the tables and footnotes that are made of outcomes, and their place in the document."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.outcome_tables import BEGIN, END, Found, Group, Outcome, put_into, section
from bench.outcomes import DOCUMENT, forms, groups, outcome_of
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.syntaxes import JPEG_2000, JPEG_BASELINE, RLE_LOSSLESS, SYNTAXES, Encoding
from router.model import Arrival, Form, Origin, Transcoding
from router.scu import SendFile
from router.transcoding import Finished, Task
from router.transform.job import Made, Obstacle, Result

EXPLICIT, IMPLICIT = EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
PRIVATE = "1.2.3.4"
TO_TWO = Group(title="### To two", columns={EXPLICIT: "evle", RLE_LOSSLESS: "rle"})


def found(source: str, target: str, outcome: Outcome, because: str = "") -> Found:
    return Found(source_uid=source, target_uid=target, outcome=outcome, because=because)


def refused(source: str, target: str, because: str) -> Found:
    return found(source, target, Outcome.REFUSED, because)


def test_a_row_for_each_source_and_a_column_for_each_target() -> None:
    outcomes = [
        found(RLE_LOSSLESS, EXPLICIT, Outcome.IDENTICAL),
        found(RLE_LOSSLESS, RLE_LOSSLESS, Outcome.AS_IT_IS),
        found(IMPLICIT, EXPLICIT, Outcome.IDENTICAL),
        found(IMPLICIT, EXPLICIT, Outcome.IDENTICAL),
        found(IMPLICIT, EXPLICIT, Outcome.WITHOUT_PIXELS),
        found(IMPLICIT, RLE_LOSSLESS, Outcome.IDENTICAL),
        refused(IMPLICIT, RLE_LOSSLESS, "it is blue"),
        refused(IMPLICIT, RLE_LOSSLESS, "it has no pixel data"),
    ]
    assert section(outcomes, (TO_TWO,)) == (
        "### To two\n"
        "\n"
        "| received as | files | evle | rle |\n"
        "| --- | --: | --- | --- |\n"
        "| implicit-vr-little-endian | 3 | 2 identical, 1 without pixels "
        "| 1 identical, 1 refused¹, 1 refused² |\n"
        "| rle-lossless | 1 | 1 identical | as it is |\n"
        "\n"
        "- ¹ it has no pixel data (1)\n"
        "- ² it is blue (1)"
    )


def test_the_order_in_which_jobs_end_makes_no_difference() -> None:
    outcomes = [
        found(IMPLICIT, EXPLICIT, Outcome.IDENTICAL),
        refused(IMPLICIT, EXPLICIT, "b"),
        refused(IMPLICIT, EXPLICIT, "a"),
        refused(IMPLICIT, RLE_LOSSLESS, "c"),
        found(RLE_LOSSLESS, EXPLICIT, Outcome.FAILED, "it took longer than 120 s"),
        found(PRIVATE, EXPLICIT, Outcome.BROKEN, "d"),
    ]
    assert section(outcomes, (TO_TWO,)) == section(outcomes[::-1], (TO_TWO,))


def test_a_reason_has_one_number_in_all_tables_and_is_counted_over_all() -> None:
    other = Group(title="### To another", columns={JPEG_2000: "j2k"})
    outcomes = [
        refused(IMPLICIT, EXPLICIT, "it is blue"),
        refused(RLE_LOSSLESS, EXPLICIT, "it is red"),
        refused(IMPLICIT, JPEG_2000, "it is red"),
        refused(IMPLICIT, JPEG_2000, "it is red"),
    ]
    text = section(outcomes, (TO_TWO, other))
    assert "2 refused² |" in text
    assert text.endswith("- ¹ it is blue (1)\n- ² it is red (3)")


def test_names_of_the_row_and_the_column_make_no_reasons_of_their_own() -> None:
    outcomes = [
        refused(IMPLICIT, RLE_LOSSLESS, "rle-lossless does not take Bits Allocated of 1"),
        refused(IMPLICIT, JPEG_2000, "jpeg-2000 does not take Bits Allocated of 1"),
        refused(IMPLICIT, EXPLICIT, "implicit-vr-little-endian cannot be had in another form"),
        refused(IMPLICIT, JPEG_2000, "jpeg-2000-lossless would do"),
    ]
    columns = {uid: uid for uid in (RLE_LOSSLESS, JPEG_2000, EXPLICIT)}
    text = section(outcomes, (Group(title="", columns=columns),))
    assert "the target does not take Bits Allocated of 1 (2)" in text
    assert "the source cannot be had in another form (1)" in text
    assert "jpeg-2000-lossless would do (1)" in text


def test_more_reasons_than_digits() -> None:
    outcomes = [refused(IMPLICIT, EXPLICIT, f"reason {at:02}") for at in range(1, 13)]
    assert "1 refused¹²" in section(outcomes, (TO_TWO,))


def test_without_reasons_there_are_no_footnotes() -> None:
    text = section([found(IMPLICIT, EXPLICIT, Outcome.IDENTICAL)], (TO_TWO,))
    assert text.endswith("| 1 identical |  |")


def test_only_what_lies_between_the_marks_is_replaced() -> None:
    document = f"# By hand\n\n{BEGIN}\n\nold\n\n{END}\n\nmore by hand\n"
    once = put_into(document, "new")
    assert once == f"# By hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore by hand\n"
    assert put_into(once, "new") == once


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_document_without_its_marks_is_left_alone(document: str) -> None:
    with pytest.raises(ValueError, match=r"must be one line|stands before"):
        put_into(document, "new")


def test_the_document_has_its_marks() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert "by hand" in put_into(document, "by hand")


def test_every_form_has_a_column() -> None:
    columns = [uid for group in groups() for uid in group.columns]
    assert columns == [form.transfer_syntax_uid for form in forms()]
    assert all(
        form.is_lossy == (SYNTAXES[form.transfer_syntax_uid].encoding is Encoding.LOSSY) for form in forms()
    )


# ---- what a job came to


def finished(result: Result, failure: str = "") -> Finished:
    file = SendFile(
        path=Path("a.dcm"),
        sop_class_uid="1.2",
        sop_instance_uid="1.3",
        transfer_syntax_uid=IMPLICIT,
        data_set_offset=0,
        data_set_bytes=10,
    )
    form = Form(transfer_syntax_uid=JPEG_BASELINE, quality=90)
    return Finished(task=Task(file=file, form=form, target=Path("b.dcm")), result=result, failure=failure)


def made(*, is_lossless: bool = True, frames: int = 1) -> Result:
    arrival = Arrival(
        sop_class_uid="1.2",
        sop_instance_uid="1.3",
        transfer_syntax_uid=JPEG_BASELINE,
        origin=Origin(calling_ae="", called_ae="", peer="", listener=""),
        received_at=0.0,
    )
    transcoding = Transcoding(
        source_uid=IMPLICIT,
        target_uid=JPEG_BASELINE,
        codecs="",
        frames=frames,
        frames_hash="abc" if frames else "",
        is_lossless=is_lossless,
    )
    return Result(
        made=Made(
            arrival=arrival, length_bytes=1, data_set_offset=0, content_hash="", transcoding=transcoding
        )
    )


def obstacle(*, is_broken: bool = False) -> Result:
    why = Obstacle(transfer_syntax_uid=JPEG_BASELINE, because="it is blue", is_broken=is_broken)
    return Result(made=None, obstacles=(why,))


@pytest.mark.parametrize(
    ("job", "outcome", "because"),
    [
        (finished(made()), Outcome.IDENTICAL, ""),
        (finished(made(frames=0)), Outcome.WITHOUT_PIXELS, ""),
        (finished(made(is_lossless=False)), Outcome.WITHIN_BOUND, ""),
        (finished(obstacle()), Outcome.REFUSED, "it is blue"),
        (finished(obstacle(is_broken=True)), Outcome.BROKEN, "it is blue"),
        (finished(Result(made=None, failure="disk full")), Outcome.FAILED, "disk full"),
        (finished(Result(made=None), "the worker process died"), Outcome.FAILED, "the worker process died"),
    ],
)
def test_what_a_job_came_to(job: Finished, outcome: Outcome, because: str) -> None:
    assert outcome_of(job) == found(IMPLICIT, JPEG_BASELINE, outcome, because)


def test_frames_that_are_others_when_read_again_are_not_called_identical() -> None:
    assert outcome_of(finished(made()), "abc").outcome is Outcome.IDENTICAL
    again = outcome_of(finished(made()), "abd")
    assert again.outcome is Outcome.BROKEN
    assert "not those of the source" in again.because
