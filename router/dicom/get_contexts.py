"""Which presentation contexts a C-GET proposes for what will be sent to it (PS3.4 §C.5.3): pure.

An acceptor takes one transfer syntax for each context, and can send on it only what it has in that syntax or
can transcode. So, as far as the 128 contexts of an association reach, each SOP class has one context for each
transfer syntax, and every instance can come as it is stored. Where the SOP classes are known, as they are
where the peer could be asked, that is the case for up to five of them, and nearly so for a dozen.

Where they are not, it is the 63 commonest with two contexts each: one for what is uncompressed, which every
peer can send, and one for what is compressed, of which the peer chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from router.dicom import syntaxes
from router.dicom.codes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MAX_CONTEXTS,
)
from router.dicom.negotiation import ProposedContext, RoleSelection

_NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)  # first: the one that peers fall back to
# By how often archives have them: the further behind, the sooner it shares a context.
_OTHERS = (
    syntaxes.JPEG_2000_LOSSLESS,
    syntaxes.JPEG_LOSSLESS_SV1,
    syntaxes.JPEG_BASELINE,
    syntaxes.RLE_LOSSLESS,
    syntaxes.JPEG_LS_LOSSLESS,
    syntaxes.JPEG_2000,
    syntaxes.JPEG_EXTENDED,
    syntaxes.JPEG_LS_NEAR_LOSSLESS,
    syntaxes.HTJ2K_LOSSLESS,
    syntaxes.HTJ2K_LOSSLESS_RPCL,
    syntaxes.HTJ2K,
    syntaxes.JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.102",  # MPEG-4 high
    "1.2.840.10008.1.2.4.100",  # MPEG-2 main
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.107",  # HEVC main
    syntaxes.JPEG_XL_LOSSLESS,
    syntaxes.JPEG_XL,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    syntaxes.ENCAPSULATED_UNCOMPRESSED,
    syntaxes.DEFLATED_IMAGE_FRAME,
)
_SYNTAXES = (*_NATIVE, *_OTHERS)

_STORAGE = "1.2.840.10008.5.1.4.1.1."
COMMON_CLASSES = tuple(
    _STORAGE + tail
    for tail in (
        # CT, MR, CR, DX, MG and intra-oral for presentation and processing, US, NM, PET, XA, XRF
        "2 2.1 2.2 4 4.1 4.2 4.3 4.4 1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 6.1 3.1 6.2 20 128 128.1 130 "
        "12.1 12.1.1 12.2 "
        # secondary captures, breast tomosynthesis, XA 3D, ophthalmology, visible light and video, slides
        "7 7.1 7.2 7.3 7.4 13.1.3 13.1.1 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.4 77.1.4.1 "
        "77.1.5.1 77.1.5.2 77.1.5.4 77.1.6 "
        # reports, dose, key objects, presentation states, segmentations, radiotherapy, documents
        "88.11 88.22 88.33 88.34 88.50 88.59 88.67 88.65 11.1 11.2 66.1 66.4 66 "
        "481.1 481.2 481.3 481.5 481.8 104.1 104.2 "
        # waveforms
        "9.1.1"
    ).split()
)


# (0008,0060) of a series -> what its instances may be of; a secondary capture may be of any modality.
_OF_MODALITIES = {
    "CT": "2 2.1 2.2",
    "MR": "4 4.1 4.2 4.3 4.4",
    "CR": "1",
    "DX": "1.1 1.1.1",
    "MG": "1.2 1.2.1 13.1.3",
    "IO": "1.3 1.3.1",
    "US": "6.1 3.1 6.2",
    "NM": "20",
    "PT": "128 130 128.1",
    "XA": "12.1 12.1.1 13.1.1",
    "RF": "12.2 12.1",
    "ES": "77.1.1 77.1.1.1",
    "GM": "77.1.2 77.1.2.1",
    "SM": "77.1.6 77.1.3",
    "XC": "77.1.4 77.1.4.1",
    "OP": "77.1.5.1 77.1.5.2",
    "OPT": "77.1.5.4",
    "SR": "88.11 88.22 88.33 88.34 88.50 88.65 88.67",
    "KO": "88.59",
    "PR": "11.1 11.2 11.3 11.4 11.5 11.6 11.8",
    "REG": "66.1 66.3",
    "SEG": "66.4 66.5",
    "RTIMAGE": "481.1",
    "RTDOSE": "481.2",
    "RTSTRUCT": "481.3",
    "RTPLAN": "481.5 481.8",
    "DOC": "104.1 104.2",
    "ECG": "9.1.1 9.1.2 9.1.3",
    "OT": "7.1 7.2 7.3 7.4 104.1",
    "SC": "7.1 7.2 7.3 7.4",
}
_SECONDARY_CAPTURE = _STORAGE + "7"


def classes_of(modalities: Iterable[str]) -> tuple[str, ...]:
    """What series of these modalities may consist of; nothing where one of them is not known here."""
    found: dict[str, None] = {}
    for modality in modalities:
        tails = _OF_MODALITIES.get(modality)
        if tails is None:
            return ()
        found.update(dict.fromkeys(_STORAGE + tail for tail in tails.split()))
    return (*found, _SECONDARY_CAPTURE) if found else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What goes into the A-ASSOCIATE-RQ."""

    contexts: tuple[ProposedContext, ...]
    roles: tuple[RoleSelection, ...]  # for each class to come in, that we are its SCP (PS3.7 D.3.3.4)


def propose_get(
    get_class_uid: str, identifier_syntaxes: Sequence[str], sop_class_uids: Sequence[str] = ()
) -> Proposal:
    """The context of the C-GET itself and those of the SOP classes that may come; none: the commonest."""
    classes = list(dict.fromkeys(sop_class_uids or COMMON_CLASSES))[: MAX_CONTEXTS - 1]
    share = (MAX_CONTEXTS - 1) // len(classes)
    wanted = [(get_class_uid, tuple(identifier_syntaxes))]
    wanted += ((sop_class, group) for sop_class in classes for group in _groups(share))
    return Proposal(
        contexts=tuple(
            ProposedContext(id=2 * index + 1, abstract_syntax=abstract_syntax, transfer_syntaxes=group)
            for index, (abstract_syntax, group) in enumerate(wanted)
        ),
        roles=tuple(RoleSelection(sop_class_uid=uid, scu=False, scp=True) for uid in classes),
    )


def _groups(share: int) -> list[tuple[str, ...]]:
    """The transfer syntaxes over so many contexts: each its own, as far as that goes."""
    if share == 1:
        return [_SYNTAXES]
    if share == 2:
        return [_NATIVE, _OTHERS]
    if share >= len(_SYNTAXES):
        return [(uid,) for uid in _SYNTAXES]
    return [*((uid,) for uid in _SYNTAXES[: share - 1]), _SYNTAXES[share - 1 :]]
