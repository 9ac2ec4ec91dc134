"""What a data set says of its pixels (PS3.3 §C.7.6.3), checked once, for all that comes behind."""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import CannotTranscode
from router.transform.elements import DataSet

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103

PALETTE_COLOR = "PALETTE COLOR"
RGB = "RGB"
YBR_FULL = "YBR_FULL"
YBR_FULL_422 = "YBR_FULL_422"
YBR_RCT = "YBR_RCT"
YBR_ICT = "YBR_ICT"
XYB = "XYB"
MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})

# Photometric Interpretation -> Samples per Pixel. The others of PS3.3 §C.7.6.3.1.2 are retired or of video.
_SAMPLES = dict.fromkeys((*MONOCHROME, PALETTE_COLOR), 1) | dict.fromkeys(
    (RGB, YBR_FULL, YBR_FULL_422, YBR_RCT, YBR_ICT, XYB), 3
)
_CELLS = (1, 8, 16, 32)  # Bits Allocated; 64 is of no image that has Pixel Data
_SIDE_CAP = 65535  # Rows and Columns are of VR US
_FRAMES_CAP = 2**31 - 1  # the largest Integer String (PS3.5 §6.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The attributes that describe pixel data, in the words of PS3.3 §C.7.6.3."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str
    planar: int  # 1: colour by plane
    frames: int

    @classmethod
    def from_data_set(cls, data_set: DataSet) -> Image:
        """The description in a data set or an item; :class:`CannotTranscode` where it cannot be right."""
        bits_stored = _one(data_set, BITS_STORED, "Bits Stored")
        image = cls(
            rows=_one(data_set, ROWS, "Rows"),
            columns=_one(data_set, COLUMNS, "Columns"),
            samples=_one(data_set, SAMPLES_PER_PIXEL, "Samples per Pixel"),
            bits_allocated=_one(data_set, BITS_ALLOCATED, "Bits Allocated"),
            bits_stored=bits_stored,
            high_bit=_one(data_set, HIGH_BIT, "High Bit", default=bits_stored - 1),
            is_signed=_one(data_set, PIXEL_REPRESENTATION, "Pixel Representation") == 1,
            photometric=data_set.text(PHOTOMETRIC_INTERPRETATION),
            planar=_one(data_set, PLANAR_CONFIGURATION, "Planar Configuration", default=0),
            frames=_one(data_set, NUMBER_OF_FRAMES, "Number of Frames", default=1),
        )
        image.check()
        return image

    def check(self) -> None:
        """Raise :class:`CannotTranscode` where the attributes contradict each other."""
        if not (0 < self.rows <= _SIDE_CAP and 0 < self.columns <= _SIDE_CAP):
            raise CannotTranscode("the image has no Rows or no Columns")
        if self.photometric not in _SAMPLES:
            raise CannotTranscode("its Photometric Interpretation is missing or not supported")
        if self.samples != _SAMPLES[self.photometric]:
            raise CannotTranscode(f"{self.photometric} cannot have {self.samples} Samples per Pixel")
        if self.bits_allocated not in _CELLS:
            raise CannotTranscode(f"Bits Allocated of {self.bits_allocated} is not supported")
        if not 0 < self.bits_stored <= self.high_bit + 1 <= self.bits_allocated:
            raise CannotTranscode("Bits Allocated, Bits Stored and High Bit contradict each other")
        if self.bits_allocated == 1 and (self.samples > 1 or self.is_signed):
            raise CannotTranscode("an image of single bits cannot be in colour or signed")
        if self.planar not in (0, 1):
            raise CannotTranscode(f"a Planar Configuration of {self.planar} does not exist")
        if not 0 < self.frames <= _FRAMES_CAP:
            raise CannotTranscode("the Number of Frames is not possible")

    @property
    def is_colour(self) -> bool:
        return self.samples > 1

    @property
    def cell_bytes(self) -> int:
        """Bytes of one sample in a decoded frame; single bits have one each there."""
        return max(1, self.bits_allocated // 8)

    @property
    def frame_samples(self) -> int:
        """Samples of one decoded frame."""
        return self.rows * self.columns * self.samples

    @property
    def total_samples(self) -> int:
        """Samples of all frames: what a limit on pixels counts."""
        return self.frame_samples * self.frames

    @property
    def frame_bits(self) -> int:
        """Bits of one frame in native pixel data (PS3.5 §8.1.1): frames of single bits are not aligned."""
        if self.photometric == YBR_FULL_422:  # two pixels share their chrominance (PS3.3 §C.7.6.3.1.2)
            return self.rows * self.columns * 2 * self.bits_allocated
        return self.frame_samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame on its own, without padding to an even length."""
        return (self.frame_bits + 7) // 8

    @property
    def native_bytes(self) -> int:
        """Bytes of native pixel data of all frames, without padding to an even length."""
        return (self.frame_bits * self.frames + 7) // 8


def _one(data_set: DataSet, tag: int, name: str, default: int | None = None) -> int:
    values = data_set.ints(tag)
    if not values and default is not None:
        return default
    if len(values) != 1:
        raise CannotTranscode(f"{name} is missing" if not values else f"{name} has several values")
    return values[0]
