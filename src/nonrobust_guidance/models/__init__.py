"""Stage two: the diffusion model and the classifiers, trained or fetched, saved and loaded."""
