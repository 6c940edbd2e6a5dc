"""How far what is watched of a version is from what is normal of it: to be looked at, nothing is decided by it."""
