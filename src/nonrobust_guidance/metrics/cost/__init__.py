"""What samples cost: seconds, and passes through the networks."""
