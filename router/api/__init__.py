"""HTTP: probes and metrics, answered at once, and the JSON interface under ``/api/v1``."""
