"""Methods compared pair by pair, each at its chosen scale."""
