"""How well the monitor notices and explains, on simulated spans: ``python -m tests.evaluation``."""
