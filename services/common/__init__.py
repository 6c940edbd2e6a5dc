"""The only code that services share; it knows no service."""
