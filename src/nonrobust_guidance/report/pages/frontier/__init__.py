"""The page on what accuracy and nearness to real images cost."""
