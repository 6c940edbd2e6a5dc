"""Whole rollouts on a simulated clock: the registry's state machine, the monitor's verdicts, and made-up traffic."""
