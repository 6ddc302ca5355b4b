"""Guidance: from a classifier to the shift of a reverse step."""
