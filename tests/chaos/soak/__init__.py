"""Half an hour of everything, and whether it leaves anything behind."""
