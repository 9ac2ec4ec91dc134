"""DICOM audit messages (PS3.15 Annex A.5): made from facts, sent by syslog (TLS, UDP), written to a file.

``codes``, ``message``, ``events``, ``gathering``, ``subjects`` and ``syslog`` are pure; ``outlet`` and
``carriers`` act; ``auditor`` is the door by which the other parts tell what has happened. Telling never waits
and never fails. What is waiting to be sent is bounded, and what does not fit is counted and, once something
gets through again, told in a message of its own.
"""
