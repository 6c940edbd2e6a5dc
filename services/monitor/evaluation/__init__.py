"""Streams of simulated spans, on which detectors are judged."""
