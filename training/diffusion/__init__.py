"""The diffusion models of the minis: what they read, what they learn from, and their recipes."""
