"""An asynchronous DICOM routing gateway: it receives, queues on disk, routes by rules and forwards."""

__version__ = "0.1.0"
