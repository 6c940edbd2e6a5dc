"""What is true of figures, traces, detectors and incidents; pure, with the time as an argument."""
