"""The object that is sent: a CT image with a scanner's kind of header, framed once into P-DATA PDUs.

Only the message id and the serial number at the end of the SOP Instance UID (in the command and in the
data set) change from one instance to the next. They lie in the first bytes and are patched in place; all that
follows is shared by every association and sent by reference: an instance of any size costs one ``sendmsg``.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence

from bench import wire

ROOT = "1.2.826.0.1.3680043.10.1338"
_DIGITS = 9  # of the serial number; the first is 1, so that the UID is legal and always of one length
_PLAIN_PDU_BYTES = 131072  # where the peer sets no limit
_MOST_PIECES = 900  # below IOV_MAX (1024)
CONTEXT_ID = 1
CONTEXTS: tuple[wire.Context, ...] = ((CONTEXT_ID, wire.CT_IMAGE, (wire.EXPLICIT_LE,)),)

_HEADER: dict[str, object] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "InstanceCreationDate": "20240517",
    "InstanceCreationTime": "101512.218000",
    "SOPClassUID": wire.CT_IMAGE,
    "StudyDate": "20240517",
    "SeriesDate": "20240517",
    "AcquisitionDate": "20240517",
    "ContentDate": "20240517",
    "AcquisitionDateTime": "20240517101403.921000",
    "StudyTime": "101122.343000",
    "SeriesTime": "101434.125000",
    "AcquisitionTime": "101403.921000",
    "ContentTime": "101403.921000",
    "AccessionNumber": "24051700815",
    "Modality": "CT",
    "Manufacturer": "BENCH MEDICAL",
    "InstitutionName": "Klinik für Messtechnik",
    "ReferringPhysicianName": "REFERRER^ROBERTA",
    "StationName": "CTAWP73456",
    "StudyDescription": "Abdomen^AbdRoutine (Adult)",
    "SeriesDescription": "AbdRoutine 5.0 B30f",
    "ManufacturerModelName": "Bench 64",
    "PatientName": "BENCH^PATIENT",
    "PatientID": "BENCH-0001",
    "PatientBirthDate": "19570312",
    "PatientSex": "O",
    "PatientAge": "067Y",
    "PatientSize": "1.72",
    "PatientWeight": "71",
    "BodyPartExamined": "ABDOMEN",
    "ScanOptions": "FAST",
    "SliceThickness": "5",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "73456",
    "SoftwareVersions": "bench CT 2012B",
    "ProtocolName": "AbdRoutine",
    "ReconstructionDiameter": "380",
    "DistanceSourceToDetector": "1040",
    "DistanceSourceToPatient": "570",
    "GantryDetectorTilt": "0",
    "TableHeight": "151",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "183",
    "Exposure": "107",
    "FilterType": "0",
    "GeneratorPower": "27",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20240517",
    "TimeOfLastCalibration": "080212.000000",
    "ConvolutionKernel": "B30f",
    "PatientPosition": "FFS",
    "StudyInstanceUID": f"{ROOT}.10",
    "SeriesInstanceUID": f"{ROOT}.11",
    "StudyID": "1",
    "SeriesNumber": "3",
    "AcquisitionNumber": "2",
    "InstanceNumber": "57",
    "ImagePositionPatient": ["-189.62890625", "-340.62890625", "-412.5"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "FrameOfReferenceUID": f"{ROOT}.12",
    "PositionReferenceIndicator": "",
    "SliceLocation": "-412.5",
    "ImageComments": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": ["0.7421875", "0.7421875"],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": ["40", "-600"],
    "WindowWidth": ["400", "1200"],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RequestedProcedureDescription": "CT Abdomen",
}
_PRIVATE = ((0x0019, "BENCH CT VA1  COAD"), (0x0029, "BENCH CSA HEADER"), (0x0051, "BENCH CT HEADER"))
_COLUMNS = {40_000: 128, 525_000: 512}


@dataclass(slots=True)
class Head:
    """One association's own copy of an instance's first bytes, patched for each instance."""

    buffer: bytearray
    uid_at: tuple[int, ...]
    message_id_at: int

    def patch(self, serial: int) -> None:
        """Make this the instance with this serial number."""
        digits = b"1%0*d" % (_DIGITS - 1, serial)
        for at in self.uid_at:
            self.buffer[at : at + _DIGITS] = digits
        struct.pack_into("<H", self.buffer, self.message_id_at, serial & 0xFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """An instance framed for one peer: the part that is patched, and the pieces that never change."""

    head: bytes
    pieces: tuple[bytes, ...]
    prefix: bytes
    length_bytes: int  # of the data set

    def own_head(self) -> Head:
        """A head of one's own."""
        first = self.head.index(self.prefix) + len(self.prefix)
        second = self.head.index(self.prefix, first) + len(self.prefix)
        message_id_at = self.head.index(struct.pack("<HHI", 0, 0x0110, 2)) + 8
        return Head(bytearray(self.head), (first, second), message_id_at)


def _header(uid: str, pixel_bytes: int, size: int) -> bytes:
    """The data set up to the value of Pixel Data."""
    data_set = Dataset()
    for keyword, value in _HEADER.items():
        setattr(data_set, keyword, value)
    data_set.SOPInstanceUID = uid
    data_set.Columns = _COLUMNS.get(size, 4096 if size < 10**8 else 16384)
    data_set.Rows = min(65535, pixel_bytes // (2 * data_set.Columns))
    data_set.RequestAttributesSequence = DicomSequence([_request()])
    for group, creator in (
        (0x0019, "BENCH CT VA1  COAD"),
        (0x0029, "BENCH CSA HEADER"),
        (0x0051, "BENCH CT HEADER"),
    ):
        block = data_set.private_block(group, creator, create=True)
        for element in range(0x08, 0x14):
            block.add_new(element, "LO", f"private value {element}")
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, data_set)
    return stream.getvalue() + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixel_bytes)


def _request() -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = "RP4711"
    item.ScheduledProcedureStepID = "SPS4711"
    item.ScheduledProcedureStepDescription = "CT Abdomen"
    return item


class Sample:
    """A CT object of about ``size`` bytes, of which any number of distinct instances can be sent."""

    def __init__(self, size: int, run: int = 0) -> None:
        self._prefix = f"{ROOT}.20.{size}.{run}.".encode()
        self.uid = (self._prefix + b"1".ljust(_DIGITS, b"0")).decode()
        header = _header(self.uid, 0, size)
        self.pixel_bytes = max(0, size - len(header)) // 2 * 2
        self.header = _header(self.uid, self.pixel_bytes, size)
        self.length_bytes = len(self.header) + self.pixel_bytes

    def uid_of(self, serial: int) -> str:
        """The SOP Instance UID of the instance with this serial number."""
        return (self._prefix + b"1%0*d" % (_DIGITS - 1, serial)).decode()

    def frame(self, max_pdu_bytes: int) -> Framed:
        """Frame it for a peer whose longest P-DATA-TF has this many bytes (0: no limit)."""
        fragment = min(max_pdu_bytes or _PLAIN_PDU_BYTES, _PLAIN_PDU_BYTES) - 6
        noise = random.Random(4711).randbytes(fragment)
        if len(self.header) > fragment:
            raise wire.PeerError(f"a longest PDU of {max_pdu_bytes} bytes is too short for this sample")
        command = wire.store_rq(1, wire.CT_IMAGE, self.uid)
        first = self.header + noise[: min(self.pixel_bytes, fragment - len(self.header))]
        left = self.length_bytes - len(first)
        control = wire.DATA_MORE if left else wire.DATA_LAST
        head = wire.pdata(CONTEXT_ID, wire.COMMAND_LAST, command) + wire.pdata(CONTEXT_ID, control, first)
        whole = (left - 1) // fragment if left else 0
        pieces = _repeat(wire.pdata(CONTEXT_ID, wire.DATA_MORE, noise), whole)
        if left:
            pieces = (*pieces, wire.pdata(CONTEXT_ID, wire.DATA_LAST, noise[: left - whole * fragment]))
        return Framed(head=head, pieces=pieces, prefix=self._prefix, length_bytes=self.length_bytes)


def _repeat(pdu: bytes, count: int) -> tuple[bytes, ...]:
    """``count`` copies of a PDU in at most some hundred pieces, most of them one and the same object."""
    if not count:
        return ()
    group = max(8, -(-count // _MOST_PIECES))
    chunk = pdu * min(group, count)
    return (chunk,) * (count // group) + ((pdu * (count % group),) if count % group else ())
