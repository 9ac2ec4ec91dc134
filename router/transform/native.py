"""Native pixel data as it lies (PS3.5 §8.1.1): whether it is all that its description says, and its hash.

Little of this needs numpy, so that re-encoding works where the optional codecs are not installed.
"""

from __future__ import annotations

from xxhash import xxh3_128

from router.errors import CannotTranscode
from router.model import Buffer
from router.transform.elements import PIXEL_DATA, DataSet
from router.transform.image import YBR_FULL_422, Image

SLACK_BYTES = 64 * 1024  # behind the frames of what was deflated: padding that somebody may have written


def is_whole(image: Image, content: Buffer) -> bool:
    """Whether these are the frames of an image, with nothing behind them but padding.

    One byte of padding is all that is allowed, and may be anything; more of it, of NUL, is met.
    """
    behind = memoryview(content)[image.native_bytes + 1 :]
    return len(content) >= image.native_bytes and not bytes(behind).strip(b"\0")


def check_inflated(data_set: DataSet) -> None:
    """Refuse a data set that has swollen to more pixels than it has use for: a decompression bomb."""
    content = data_set.buffer(PIXEL_DATA) or b""
    if len(content) <= SLACK_BYTES:
        return
    image = Image.from_data_set(data_set)
    if len(content) > image.native_bytes + SLACK_BYTES:
        raise CannotTranscode(
            f"its pixels inflate to {len(content)} bytes, more than the {image.native_bytes} of its image"
        )


def frames_hash(image: Image, content: Buffer) -> str:
    """XXH3-128 of the frames of native pixel data, as they would be decoded (``router.transform.frames``)."""
    if _lies_as_frames(image):
        return xxh3_128(memoryview(content)[: image.native_bytes]).hexdigest()
    from router.transform.frames import from_native

    digest = xxh3_128()
    for index in range(image.frames):
        digest.update(from_native(image, content, index).content)
    return digest.hexdigest()


def hash_of(data_set: DataSet) -> str:
    """The same of a data set, whatever it is: of the bytes alone where nobody could decode them."""
    content = data_set.buffer(PIXEL_DATA) or b""
    try:
        image = Image.from_data_set(data_set)
        if is_whole(image, content):
            return frames_hash(image, content)
    except (CannotTranscode, ImportError):
        pass
    return xxh3_128(content).hexdigest()


def _lies_as_frames(image: Image) -> bool:
    """Whether the frames lie one behind the other, byte for byte."""
    is_by_plane = image.is_colour and image.planar == 1
    return image.bits_allocated > 1 and not is_by_plane and image.photometric != YBR_FULL_422
