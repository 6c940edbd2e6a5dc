"""Ways to the outside: registry, files, processes."""
