"""Forms of an instance: data sets re-encoded as they lie, and pixel data decoded, encoded and proven."""
