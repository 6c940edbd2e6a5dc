"""How often verdicts are wrong and how soon they come, on simulated traffic: ``python -m tests.verdicts``."""
