"""What other systems read about a suite: Prometheus' rules and Grafana's dashboards, made from what is deployed."""
