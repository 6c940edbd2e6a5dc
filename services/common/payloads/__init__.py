"""Large messages from process to process on one host, in shared memory: written once, read where they lie.

Each process has a directory of its own below ``/dev/shm`` (:mod:`directory`), a :class:`PayloadStore` with the buffers
in it, and a :class:`PayloadReader` for each other process that it hears of. A message is told as buffer and use; who
can't open the buffer, because of another host or another user, gets the bytes over a connection.
"""

from services.common.payloads.cleaning import keep_clean
from services.common.payloads.layout import Reference
from services.common.payloads.reader import PayloadReader
from services.common.payloads.store import Draft, PayloadStore, reference_of

__all__ = ["Draft", "PayloadReader", "PayloadStore", "Reference", "keep_clean", "reference_of"]
