"""Every method where the distribution that it should draw from is known."""
