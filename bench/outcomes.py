"""What can be had from what: ``python -m bench.outcomes [--corpus DIR] [--check]``.

Brings every valid file of the public set into every transfer syntax that the ladder knows, with the workers
and the proof that deliveries have, and writes the tables in ``docs/transcoding.md`` between their two marks.
With ``--check`` nothing is written: it ends with 1 and the difference where the document says something else.
It also ends with 1 where a job failed or a codec did not pass the proof.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import anyio
from xxhash import xxh3_128

from bench.outcome_tables import Found, Group, Outcome, put_into, section
from bench.process import CHECKOUT, temporary_root
from router.config.settings import Transcode
from router.dicom.syntaxes import LOSSLESS_TARGETS, LOSSY_TARGETS, NATIVE_TARGETS, label, syntax_of
from router.model import Form
from router.scu import SendFile, examine
from router.transcoding import Finished, Task, transcode_files
from router.transform import native
from router.transform.reading import parse
from router.transform.transcode import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA
from tests.corpus import read_manifest, valid_files

DOCUMENT = CHECKOUT / "docs" / "transcoding.md"
CORPUS = CHECKOUT.parent / "shared" / "data"
QUALITY, RATIO, MAX_ERROR = 90, 10, 2
_LOSSES = {
    "quality": (QUALITY, f"quality {QUALITY}"),
    "ratio": (RATIO, f"ratio {RATIO}"),
    "max_error": (MAX_ERROR, f"max_error {MAX_ERROR}"),
}
_TELL_EVERY = 100


def forms() -> tuple[Form, ...]:
    """Everything that can be asked for."""
    lossless = (Form(transfer_syntax_uid=uid) for uid in (*NATIVE_TARGETS, *LOSSLESS_TARGETS))
    lossy = (
        Form(
            transfer_syntax_uid=uid,
            quality=QUALITY if loss == "quality" else None,
            ratio=RATIO if loss == "ratio" else None,
            max_error=MAX_ERROR if loss == "max_error" else None,
        )
        for uid, loss in LOSSY_TARGETS.items()
    )
    return (*lossless, *lossy)


def groups() -> tuple[Group, ...]:
    """The tables."""
    lossy = {uid: f"{label(uid)}, {_LOSSES[loss][1]}" for uid, loss in LOSSY_TARGETS.items()}
    return (
        Group(title="### To uncompressed", columns={uid: label(uid) for uid in NATIVE_TARGETS}),
        Group(title="### To lossless", columns={uid: label(uid) for uid in LOSSLESS_TARGETS}),
        Group(title="### To lossy", columns=lossy),
    )


def outcome_of(finished: Finished, frames_hash: str | None = None) -> Found:
    """What one job came to. ``frames_hash``: of the frames in its result, where they were read again here."""
    result = finished.result
    outcome, because = Outcome.REFUSED, finished.because
    if result.made is not None:
        transcoding = result.made.transcoding
        proven = Outcome.IDENTICAL if transcoding.is_lossless else Outcome.WITHIN_BOUND
        outcome = proven if transcoding.frames else Outcome.WITHOUT_PIXELS
        if frames_hash not in (None, transcoding.frames_hash):
            outcome, because = Outcome.BROKEN, "the frames that lie in the result are not those of the source"
    elif finished.failure or result.failure:
        outcome = Outcome.FAILED
    elif result.obstacles[0].is_broken:
        outcome = Outcome.BROKEN
    return Found(
        source_uid=finished.task.file.transfer_syntax_uid,
        target_uid=finished.task.form.transfer_syntax_uid,
        outcome=outcome,
        because=because,
    )


def read_again(finished: Finished) -> str | None:
    """The hash of the frames in an uncompressed result; a worker reads what it has compressed by itself."""
    made = finished.result.made
    if made is None or not made.transcoding.frames or not syntax_of(made.transcoding.target_uid).is_native:
        return None
    content = finished.task.target.read_bytes()[made.data_set_offset :]
    cap_bytes = Transcode().max_inflated_bytes
    data_set = parse(content, made.transcoding.target_uid, inflate_cap_bytes=cap_bytes)
    for tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
        if (numbers := data_set.buffer(tag)) is not None:
            return xxh3_128(numbers).hexdigest()
    return native.hash_of(data_set)


def run(files: Iterable[SendFile]) -> tuple[list[Found], list[str]]:
    """Do all of it; what came of it, and a line for each thing that should not have happened."""
    found: list[Found] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="outcomes-", dir=temporary_root()) as name:
        tasks = []
        for at, (file, form) in enumerate((file, form) for file in files for form in forms()):
            if file.transfer_syntax_uid == form.transfer_syntax_uid:
                uid = form.transfer_syntax_uid
                found.append(Found(source_uid=uid, target_uid=uid, outcome=Outcome.AS_IT_IS))
            else:
                tasks.append(Task(file=file, form=form, target=Path(name, f"{at}.dcm")))

        total = len(found) + len(tasks)

        def note(finished: Finished) -> None:
            one = outcome_of(finished, read_again(finished))
            finished.task.target.unlink(missing_ok=True)
            found.append(one)
            if one.outcome in (Outcome.BROKEN, Outcome.FAILED):
                file = finished.task.file.path.name
                wrong.append(f"{file} → {label(one.target_uid)}: {one.outcome.value}: {one.because}")
            if len(found) % _TELL_EVERY == 0:
                print(f"\r{len(found)} of {total}", end="", file=sys.stderr, flush=True)

        anyio.run(transcode_files, tasks, Transcode(), note)
    print(file=sys.stderr)
    return found, sorted(wrong)


def _files(corpus: Path) -> Iterator[SendFile]:
    for file in valid_files(read_manifest(corpus, "public")):
        examined = examine(file.path)
        if not isinstance(examined, SendFile):
            sys.exit(f"{file.path}: {examined.because}")
        yield examined


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.outcomes", description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, help="of real files; DICOM_CORPUS, or ../shared/data where not given"
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    chosen = parser.parse_args()
    corpus = (chosen.corpus or Path(os.environ.get("DICOM_CORPUS") or CORPUS)).resolve()
    found, wrong = run(_files(corpus))
    before = DOCUMENT.read_text(encoding="utf-8")
    after = put_into(before, section(found, groups()))
    if not chosen.check:
        DOCUMENT.write_text(after, encoding="utf-8")
    elif before != after:
        lines = difflib.unified_diff(
            before.splitlines(), after.splitlines(), "as it stands", "as it is", n=0, lineterm=""
        )
        print("\n".join(lines))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong or (chosen.check and before != after) else 0


if __name__ == "__main__":
    sys.exit(main())
