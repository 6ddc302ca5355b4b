"""The page on what each part of a method does."""
