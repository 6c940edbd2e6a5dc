"""Gateway, inference, registry, monitor, and what they share. Each runs as ``python -m services.<name>``."""

import os

# gRPC reads these when it is first imported. Its fork handlers can hang or crash a process that starts others from a
# loop with calls under way; its own log lines would repeat, less clearly, what our errors say.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
