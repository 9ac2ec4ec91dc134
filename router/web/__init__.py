"""The page for people: what flows, what waits and why, and what happened to an image."""
