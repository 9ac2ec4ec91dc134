"""The gateway measured side by side with the servers that people would use instead (``make bench``)."""
