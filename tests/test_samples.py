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


def test_pixels_decode_to_what_was_drawn(study: list[samples.Sample]) -> None:
    numpy = pytest.importorskip("numpy")
    by_title = {sample.title: pydicom.dcmread(sample.path) for sample in study}
    assert by_title["CT RLE"].pixel_array.shape == (512, 512)
    assert by_title["US RGB RLE"].pixel_array.shape == (240, 320, 3)
    assert numpy.array_equal(by_title["MR big endian"].pixel_array[0], by_title["MR"].pixel_array[0] + 1) or (
        by_title["MR big endian"].pixel_array.max() < 4096
    )


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, study: list[samples.Sample]) -> None:
    again = samples.generate(tmp_path / "again", seed=7)
    other = samples.generate(tmp_path / "other", seed=8, bundled=False)
    assert [sample.path.read_bytes() for sample in again] == [s.path.read_bytes() for s in study]
    assert not {s.sop_instance_uid for s in other} & {s.sop_instance_uid for s in study}
