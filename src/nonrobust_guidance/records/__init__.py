"""Records of what was made: with which settings, from which files, where and with what."""
