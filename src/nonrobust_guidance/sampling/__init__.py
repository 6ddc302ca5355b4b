"""Stage three: the reverse chain and the images it ends in."""
