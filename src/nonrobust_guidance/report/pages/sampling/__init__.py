"""The page on what each way of guiding draws."""
