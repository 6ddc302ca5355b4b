"""The page on data whose conditional distribution is known."""
