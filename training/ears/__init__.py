"""How the two mini ears are trained."""
