"""The DICOM upper layer and DIMSE, sans-I/O: bytes in, events and bytes out. No async, socket, clock."""
