"""What is true of models, versions, aliases and deployments. Pure: no clock, no SQL, no gRPC."""
