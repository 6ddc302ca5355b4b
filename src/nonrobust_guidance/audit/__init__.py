"""Whether published results still follow from their data, checkpoints and code, and where each number comes from."""
