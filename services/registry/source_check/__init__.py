"""One look at a place that is watched, in a process of its own: ``python -m services.registry.source_check``.

The libraries that know MLflow, DVC, Weights & Biases and buckets are heavy, and may hang or crash: they are imported
here and nowhere else. The question comes as JSON on standard input, the answer goes as JSON to standard output.
"""
