"""Every method, tested where the distribution that it should draw from is known."""
