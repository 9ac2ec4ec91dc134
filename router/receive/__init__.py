"""Reception: from an association's events to instances that are durable, and only then the answer."""

from router.receive.receiver import Receiver

__all__ = ["Receiver"]
