"""What the monitor talks to: a database, another OTLP receiver, Prometheus."""
