"""Stage four: numbers about the samples of a run, each with its n and its interval.

The parts that need no network (`cells`, `intervals`, `samples`) import without torch, so that a report can read them.
"""
