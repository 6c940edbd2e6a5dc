"""SQL and files."""
