"""Detectors judged: on simulated streams of spans, and on series and traces of any origin (``penstock-eval``)."""
