"""What clients see while one thing breaks: ``python -m tests.chaos --help``."""
