"""How far samples are from real images, in the features of a network."""
