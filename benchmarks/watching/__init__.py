"""What watching costs: CPU per request in the model process that tells, and in the monitor that judges."""
