"""The page on how guidance fails."""
