"""Fuzzing: every parser that reads what strangers send, given what nobody would send.

A target (``targets``) is a function of bytes that raises nothing unless something is wrong. ``python -m
tests.fuzz TARGET`` looks for bytes that make it raise, guided by coverage (atheris) where that runs, else by
Hypothesis; ``test_seeds`` replays the seeds of all targets, and some changes to each, in ``make test``.

A finding becomes a seed (``seeds/TARGET.hex``), a test named after what went wrong beside the module's other
tests, and a fix.
"""
