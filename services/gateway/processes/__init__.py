"""Several gateway processes on one pair of ports: a parent that keeps them, and what makes them one to the outside.

Each process is a whole gateway with an id and an internal port of its own; the kernel spreads connections over them.
The parent serves no request. It restarts what dies, answers ``/metrics`` for all, and passes questions between them.
"""
