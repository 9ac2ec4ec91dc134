"""Delivery: a lane for each destination sends what is due there, whatever happens to the others."""
