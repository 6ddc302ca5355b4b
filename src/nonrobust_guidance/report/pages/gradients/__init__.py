"""The page on the gradients of the classifiers."""
