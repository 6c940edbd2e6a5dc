"""The monitor on a suite that runs: real processes are hurt while callers ask."""
