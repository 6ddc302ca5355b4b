"""Stage four: numbers about the samples of a run, each with its n and its interval.

The parts that need no network (`cells`, `gather`, `tables`, `statistics`, `distances.spaces`,
`distances.inception_weights`) import without torch, so that a report and the workflow can read them.
"""
