"""What a request costs: Penstock as a user gets it, beside a bare gRPC server measured in the same run."""
