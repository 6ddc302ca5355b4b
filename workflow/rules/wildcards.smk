# The values that wildcards may take.


def one_of(names):
    """Return a pattern that matches these values and nothing else."""
    return "|".join(sorted(names)) or "(?!)"


wildcard_constraints:
    classifier=one_of(config["classifiers"]),
    extractor=one_of(config["metrics"]["extractors"]),
    method=one_of(METHODS),
    page=one_of(PAGES),
    scale=r"[0-9.e+-]+",
    seed="[0-9]+",
    start="[0-9]+",
    stop="[0-9]+",
