"""What is written down about what was made: by whose settings, from which files, where and with what."""
