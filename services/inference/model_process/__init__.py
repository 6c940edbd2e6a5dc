"""The process that runs one version of one model: ``python -m services.inference.model_process``."""
