"""The DICOM upper layer, DIMSE, file format and tag scanner: bytes in, values and bytes out; no I/O, no clock."""
