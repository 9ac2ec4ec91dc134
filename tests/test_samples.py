"""router.samples: a study that pydicom reads, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from router import samples

RLE = "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[samples.Sample]:
    return samples.generate(tmp_path_factory.mktemp("study"), seed=7)


def test_it_has_several_modalities_compressed_and_not(study: list[samples.Sample]) -> None:
    assert {sample.modality for sample in study} >= {"CT", "MR", "CR", "DX", "US", "SR"}
    assert {sample.transfer_syntax_uid for sample in study} >= {RLE, "1.2.840.10008.1.2.1"}
    assert len({sample.sop_instance_uid for sample in study}) == len(study)


def test_what_is_said_of_a_file_is_true(study: list[samples.Sample]) -> None:
    for sample in study:
        ds = pydicom.dcmread(sample.path)
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == sample.sop_instance_uid
        assert ds.file_meta.TransferSyntaxUID == sample.transfer_syntax_uid
        assert ds.Modality == sample.modality


def test_pixels_decode_to_what_was_drawn(tmp_path: Path, study: list[samples.Sample]) -> None:
    numpy = pytest.importorskip("numpy")
    plain = samples.generate(tmp_path, seed=7, ct_slices=5, mr_slices=5, bundled=False)
    by_uid = {sample.sop_instance_uid: sample for sample in plain}
    for title in ("CT RLE", "MR big endian"):
        (encoded,) = (sample for sample in study if sample.title == title)
        drawn = by_uid[encoded.sop_instance_uid]
        assert drawn.transfer_syntax_uid != encoded.transfer_syntax_uid
        pixels = [pydicom.dcmread(sample.path).pixel_array for sample in (encoded, drawn)]
        assert numpy.array_equal(*pixels)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, study: list[samples.Sample]) -> None:
    again = samples.generate(tmp_path / "again", seed=7)
    other = samples.generate(tmp_path / "other", seed=8, bundled=False)
    assert [sample.path.read_bytes() for sample in again] == [s.path.read_bytes() for s in study]
    assert not {s.sop_instance_uid for s in other} & {s.sop_instance_uid for s in study}
