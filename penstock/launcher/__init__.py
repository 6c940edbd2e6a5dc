"""``penstock up``: starts a whole suite on this machine, keeps it running, and stops it in order."""
