"""``spool``: look into the store itself, with the gateway running or not."""
