"""What the monitor does where nobody says otherwise, in the words of a file of policies.

Whose answers are wrong or missing is replaced, and who was just promoted goes back, since what was before is still
there. A rise of latency alone rolls nothing back: a version that has all requests runs in larger batches than the same
one had on trial. Nothing is retrained unless it is said how.
"""

from __future__ import annotations

DEFAULTS = """
[[policy]]
name = "hold-rollout"
action = "hold"
mode = "on"
causes = ["version"]
severities = ["page"]
cool_down = "1m"

[[policy]]
name = "roll-back-slow"
action = "roll_back"
mode = "dry_run"
signals = ["latency", "queueing", "trace_shape"]
causes = ["version"]
severities = ["page"]
min_age = "1m"
cool_down = "10m"

[[policy]]
name = "roll-back-promoted"
action = "roll_back"
mode = "on"
causes = ["version"]
severities = ["page"]
cool_down = "10m"

[[policy]]
name = "quarantine-wrong"
action = "quarantine"
mode = "on"
signals = ["probe"]
cool_down = "1m"
max_actions = 8

[[policy]]
name = "quarantine-dead"
action = "quarantine"
mode = "on"
signals = ["dead", "stuck"]
causes = ["replica"]
cool_down = "1m"
max_actions = 3

[[policy]]
name = "quarantine-limping"
action = "quarantine"
mode = "on"
signals = ["latency"]
causes = ["replica"]
min_age = "30s"
cool_down = "5m"
max_actions = 2

[[policy]]
name = "quarantine-others"
action = "quarantine"
mode = "dry_run"
causes = ["replica"]
cool_down = "1m"
max_actions = 3
"""
