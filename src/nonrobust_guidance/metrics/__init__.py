"""Stage four: numbers about the samples of a run, each with its n and its interval.

The parts that need no network (`cells`, `gather`, `intervals`, `seeds`, `spaces`, `tables`, `weights`) import without
torch, so that a report and the workflow can read them.
"""
