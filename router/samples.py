"""Sample instances: a small study of several modalities, made from nothing, compressed and not.

For the demonstration and for tests. The same seed gives the same bytes. Pixels are made in rows with plain
bytes, so that numpy is not needed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    UltrasoundImageStorage,
)

from router.dicom.codes import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

# pydicom's own samples, small and valid: compressions for which there is no encoder here.
_BUNDLED = {
    "JPEG2000.dcm": "nm-jpeg-2000",
    "SC_rgb_jpeg_dcmtk.dcm": "sc-jpeg-baseline",
    "MR_small_jpeg_ls_lossless.dcm": "mr-jpeg-ls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One file that was made."""

    path: Path
    title: str  # what it is, for people
    modality: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def generate(
    directory: Path, *, seed: int = 1, ct_slices: int = 4, mr_slices: int = 4, bundled: bool = True
) -> list[Sample]:
    """Write a study's files into ``directory`` and say what they are."""
    directory.mkdir(parents=True, exist_ok=True)
    makers = list(_makers(_Study(seed), ct_slices, mr_slices))
    samples = []
    for number, (title, make) in enumerate(makers, start=1):
        dataset = make()
        path = directory / f"{number:03d}-{title.lower().replace(' ', '-')}.dcm"
        _write(path, dataset)
        samples.append(_sample(path, title, dataset))
    if bundled:
        samples += _bundled(directory)
    return samples


def _makers(study: _Study, ct_slices: int, mr_slices: int) -> Iterator[tuple[str, Callable[[], Dataset]]]:
    for number in range(1, ct_slices + 1):
        yield "CT", lambda number=number: study.ct(number)  # type: ignore[misc]
    yield "CT RLE", lambda: _compressed(study.ct(ct_slices + 1))
    for number in range(1, mr_slices + 1):
        yield "MR", lambda number=number: study.mr(number)  # type: ignore[misc]
    yield "MR big endian", lambda: _in_syntax(study.mr(mr_slices + 1), ExplicitVRBigEndian)
    yield "CR", study.cr
    yield "DX", study.dx
    yield "US RGB", study.us
    yield "US RGB RLE", lambda: _compressed(study.us(2))
    yield "SR", study.sr


class _Study:
    """One patient's study; every UID comes from the seed."""

    def __init__(self, seed: int) -> None:
        self._base = (0x5EED00000000 + (seed & 0xFFFFFFFF)) << 32

    def _uid(self, series: int = 0, number: int = 0) -> str:
        return f"2.25.{self._base + (series << 16) + number}"  # PS3.5 §B.2

    def ct(self, number: int) -> Dataset:
        """512 × 512, 16 bit: the 525 kB of an everyday slice."""
        ds = self._image("CT", CTImageStorage, 1, number, ExplicitVRLittleEndian)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.KVP = "120"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
        ds.SliceThickness, ds.PixelSpacing = "5", ["0.7", "0.7"]
        ds.ImagePositionPatient = ["-180", "-180", str(5 * number)]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        _grey(ds, 512, 512, inside=1064, outside=24, shift=number)
        return ds

    def mr(self, number: int) -> Dataset:
        """256 × 256, 16 bit, implicit VR."""
        ds = self._image("MR", MRImageStorage, 2, number, ImplicitVRLittleEndian)
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
        ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength = "2D", "14", "600", "1"
        ds.ImagePositionPatient = ["-120", "-120", str(6 * number)]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.PixelSpacing, ds.SliceThickness = ["0.9", "0.9"], "6"
        _grey(ds, 256, 256, inside=700, outside=6, shift=number)
        return ds

    def cr(self) -> Dataset:
        """A chest, 1024 × 1280."""
        ds = self._image("CR", ComputedRadiographyImageStorage, 3, 1, ExplicitVRLittleEndian)
        ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
        _grey(ds, 1280, 1024, inside=2600, outside=300, shift=0)
        return ds

    def dx(self) -> Dataset:
        """A hand, 800 × 600."""
        ds = self._image("DX", DigitalXRayImageStorageForPresentation, 4, 1, ExplicitVRLittleEndian)
        ds.BodyPartExamined, ds.ImageLaterality, ds.PresentationIntentType = "HAND", "L", "FOR PRESENTATION"
        ds.PixelIntensityRelationship, ds.PresentationLUTShape = "LOG", "IDENTITY"
        _grey(ds, 800, 600, inside=3000, outside=100, shift=0)
        return ds

    def us(self, number: int = 1) -> Dataset:
        """320 × 240 in colour."""
        ds = self._image("US", UltrasoundImageStorage, 5, number, ExplicitVRLittleEndian)
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 240, 320, 3, 0
        ds.PhotometricInterpretation = "RGB"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.PixelData = b"".join(bytes((row, 40 * number, 255 - row)) * 320 for row in range(240))
        ds["PixelData"].VR = "OB"
        return ds

    def sr(self) -> Dataset:
        """A report of one sentence."""
        ds = self._instance("SR", BasicTextSRStorage, 6, 1, ExplicitVRLittleEndian)
        ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
        ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
        ds.ConceptNameCodeSequence = Sequence([_code("18782-3", "LN", "Radiology Study observation")])
        finding = Dataset()
        finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
        finding.ConceptNameCodeSequence = Sequence([_code("121071", "DCM", "Finding")])
        finding.TextValue = "Unauffälliger Befund."
        ds.ContentSequence = Sequence([finding])
        return ds

    def _image(self, modality: str, sop_class: str, series: int, number: int, syntax: UID) -> Dataset:
        ds = self._instance(modality, sop_class, series, number, syntax)
        ds.FrameOfReferenceUID = self._uid(series, 0xFFFF)
        return ds

    def _instance(self, modality: str, sop_class: str, series: int, number: int, syntax: UID) -> Dataset:
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, self._uid(series, number)
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260102", "101500", "DEMO0001"
        ds.Modality, ds.Manufacturer, ds.InstitutionName = modality, "dicom-router", "SAMPLE HOSPITAL"
        ds.StudyDescription, ds.SeriesDescription = "Demonstration", f"{modality} series"
        ds.PatientName, ds.PatientID = "Müller^Maria", "SAMPLE-1"
        ds.PatientBirthDate, ds.PatientSex = "19700101", "F"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self._uid(), self._uid(series)
        ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", str(series), str(number)
        return _in_syntax(ds, syntax)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _grey(ds: Dataset, rows: int, columns: int, *, inside: int, outside: int, shift: int) -> None:
    """A bright ellipse on a dark ground, brighter towards the right."""
    ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ground = array("H", (outside + (x * 7 + shift) % 16 for x in range(columns)))
    body = array("H", (inside + x % 200 + shift for x in range(columns)))
    pixels = array("H")
    for y in range(rows):
        height = 2 * y / rows - 1
        half = int(columns * 0.4 * sqrt(max(0.0, 1 - (height / 0.85) ** 2)))
        left, right = columns // 2 - half, columns // 2 + half
        pixels += ground[:left] + body[left:right] + ground[right:]
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"


def _in_syntax(ds: Dataset, syntax: UID) -> Dataset:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and "PixelData" in ds:
        words = array("H", ds.PixelData)
        words.byteswap()
        ds.PixelData = words.tobytes()
    return ds


def _compressed(ds: Dataset) -> Dataset:
    ds.compress(RLELossless, generate_instance_uid=False)
    return ds


def _write(path: Path, ds: Dataset) -> None:
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    dcmwrite(path, ds, enforce_file_format=True)


def _sample(path: Path, title: str, ds: Dataset) -> Sample:
    return Sample(
        path=path,
        title=title,
        modality=str(ds.Modality),
        sop_instance_uid=str(ds.SOPInstanceUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
    )


def _bundled(directory: Path) -> Iterator[Sample]:
    """Copies of pydicom's samples; those that its installation lacks are left out."""
    from pydicom import dcmread

    for name, title in _BUNDLED.items():
        source = get_testdata_file(name, download=False)
        if source is None:
            continue
        path = directory / f"{title}.dcm"
        path.write_bytes(Path(str(source)).read_bytes())
        head = dcmread(path, stop_before_pixels=True)
        assert isinstance(head, FileDataset)  # noqa: S101 - a file, not a DICOMDIR
        yield _sample(path, title.replace("-", " "), head)
