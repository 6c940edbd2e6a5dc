"""How the gateway reaches Redis."""
