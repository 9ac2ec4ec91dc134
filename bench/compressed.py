"""A CT slice of 512x512 16-bit samples in JPEG 2000 lossless, of which any number of instances can be sent.

The slice is an ellipse of soft tissue with a spine and lungs, and noise in its low bits as a scanner's has:
noise is what a codec spends its time on. It is encoded once, by ``dicom-router transcode``.
"""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from bench import wire
from bench.process import CHECKOUT, ProgramError
from bench.sample import CONTEXT_ID, ROOT, Framed, Sample
from router.dicom.syntaxes import JPEG_2000_LOSSLESS, label
from tests.corpus import read_part10

CONTEXTS: tuple[wire.Context, ...] = ((CONTEXT_ID, wire.CT_IMAGE, (JPEG_2000_LOSSLESS,)),)
SIDE = 512
_PREFIX = f"{ROOT}.30."
_FIRST = "100000000"  # the serial number that ``bench.sample.Head`` patches
_NOISE = 12.0  # Hounsfield units, standard deviation
_AIR, _FAT, _TISSUE, _LUNG, _BONE = -1000, -90, 50, -820, 700
_ENCODING_S = 120.0


def make(directory: Path) -> bytes:
    """The data set of the slice, JPEG 2000 lossless."""
    native, encoded = directory / "slice.dcm", directory / "slice.j2k.dcm"
    _data_set().save_as(native, enforce_file_format=True)
    command = [sys.executable, "-m", "router", "transcode", str(native)]
    command += ["--to", label(JPEG_2000_LOSSLESS), "-o", str(encoded), "--quiet"]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=_ENCODING_S, check=False
    )
    if done.returncode:
        raise ProgramError(f"the slice cannot be encoded\n{done.stderr}")
    return read_part10(encoded).data_set


def frame(data_set: bytes, max_pdu_bytes: int) -> Framed:
    """Frame it for a peer whose longest P-DATA-TF has this many bytes."""
    fragment = max_pdu_bytes - 6
    command = wire.pdata(CONTEXT_ID, wire.COMMAND_LAST, wire.store_rq(1, wire.CT_IMAGE, f"{_PREFIX}{_FIRST}"))
    parts = [data_set[at : at + fragment] for at in range(0, len(data_set), fragment)]
    controls = [wire.DATA_MORE] * (len(parts) - 1) + [wire.DATA_LAST]
    first, *rest = (
        wire.pdata(CONTEXT_ID, control, part) for control, part in zip(controls, parts, strict=True)
    )
    return Framed(
        head=command + first, pieces=tuple(rest), prefix=_PREFIX.encode(), length_bytes=len(data_set)
    )


def _data_set() -> FileDataset:
    """A scanner's header, as ``bench.sample`` has it, and the slice."""
    sample = Sample(525_000)
    plain = pydicom.dcmread(BytesIO(sample.header + bytes(sample.pixel_bytes)), force=True)
    plain.Rows = plain.Columns = SIDE
    plain.BitsStored, plain.HighBit, plain.PixelRepresentation = 16, 15, 1
    plain.RescaleIntercept = "0"
    plain.SOPInstanceUID = UID(f"{_PREFIX}{_FIRST}")
    plain.PixelData = _pixels().tobytes()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(wire.EXPLICIT_LE)
    meta.MediaStorageSOPClassUID = plain.SOPClassUID
    meta.MediaStorageSOPInstanceUID = plain.SOPInstanceUID
    return FileDataset(BytesIO(), plain, file_meta=meta, preamble=bytes(128))


def _pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Hounsfield units."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    picture = np.full((SIDE, SIDE), _AIR, dtype=np.float64)
    for hounsfield, (at_x, at_y, width, height) in (
        (_FAT, (0.0, 0.0, 0.85, 0.62)),
        (_TISSUE, (0.0, 0.0, 0.79, 0.56)),
        (_LUNG, (-0.38, -0.08, 0.28, 0.36)),
        (_LUNG, (0.38, -0.08, 0.28, 0.36)),
        (_BONE, (0.0, 0.38, 0.11, 0.1)),
    ):
        picture[((x - at_x) / width) ** 2 + ((y - at_y) / height) ** 2 < 1] = hounsfield
    picture += 20.0 * np.cos(5.0 * x) * np.sin(7.0 * y)  # nothing is flat
    noise = np.random.default_rng(4711).normal(0.0, _NOISE, picture.shape)
    return np.clip(picture + noise, -1024, 3071).astype("<i2")
