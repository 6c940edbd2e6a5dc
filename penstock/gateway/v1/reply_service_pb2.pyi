from penstock.queue.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "batch_reply", "refusal", "stream_response")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_REPLY_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    STREAM_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch_reply: BatchReply
    refusal: Refusal
    stream_response: StreamResponse
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch_reply: _Optional[_Union[BatchReply, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., stream_response: _Optional[_Union[StreamResponse, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "receipt", "cancellation", "handover", "consumption")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CANCELLATION_FIELD_NUMBER: _ClassVar[int]
    HANDOVER_FIELD_NUMBER: _ClassVar[int]
    CONSUMPTION_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    receipt: Receipt
    cancellation: Cancellation
    handover: Handover
    consumption: Consumption
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., cancellation: _Optional[_Union[Cancellation, _Mapping]] = ..., handover: _Optional[_Union[Handover, _Mapping]] = ..., consumption: _Optional[_Union[Consumption, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("consumer", "model", "version", "takes_handovers", "payload_store", "is_decoupled")
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAKES_HANDOVERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_STORE_FIELD_NUMBER: _ClassVar[int]
    IS_DECOUPLED_FIELD_NUMBER: _ClassVar[int]
    consumer: str
    model: str
    version: str
    takes_handovers: bool
    payload_store: str
    is_decoupled: bool
    def __init__(self, consumer: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., takes_handovers: _Optional[bool] = ..., payload_store: _Optional[str] = ..., is_decoupled: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("gateway_id", "is_payload_store_readable")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    IS_PAYLOAD_STORE_READABLE_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    is_payload_store_readable: bool
    def __init__(self, gateway_id: _Optional[str] = ..., is_payload_store_readable: _Optional[bool] = ...) -> None: ...

class BatchReply(_message.Message):
    __slots__ = ("sequence", "replies", "batch_rows", "is_execution_counted", "batch_start_ns", "compute_input_ns", "compute_infer_ns", "compute_output_ns", "trace_id", "span_id")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    IS_EXECUTION_COUNTED_FIELD_NUMBER: _ClassVar[int]
    BATCH_START_NS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_INPUT_NS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_INFER_NS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_OUTPUT_NS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    batch_rows: int
    is_execution_counted: bool
    batch_start_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    trace_id: bytes
    span_id: bytes
    def __init__(self, sequence: _Optional[int] = ..., replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ..., batch_rows: _Optional[int] = ..., is_execution_counted: _Optional[bool] = ..., batch_start_ns: _Optional[int] = ..., compute_input_ns: _Optional[int] = ..., compute_infer_ns: _Optional[int] = ..., compute_output_ns: _Optional[int] = ..., trace_id: _Optional[bytes] = ..., span_id: _Optional[bytes] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("request_key", "code", "message", "reason", "response", "queue_ns", "rows", "attempt", "response_buffer", "response_use", "response_bytes")
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_NS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BUFFER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_USE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    request_key: int
    code: int
    message: str
    reason: str
    response: bytes
    queue_ns: int
    rows: int
    attempt: int
    response_buffer: int
    response_use: int
    response_bytes: int
    def __init__(self, request_key: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., response: _Optional[bytes] = ..., queue_ns: _Optional[int] = ..., rows: _Optional[int] = ..., attempt: _Optional[int] = ..., response_buffer: _Optional[int] = ..., response_use: _Optional[int] = ..., response_bytes: _Optional[int] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("sequence", "request_key", "index", "response", "response_buffer", "response_use", "response_bytes")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BUFFER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_USE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    request_key: int
    index: int
    response: bytes
    response_buffer: int
    response_use: int
    response_bytes: int
    def __init__(self, sequence: _Optional[int] = ..., request_key: _Optional[int] = ..., index: _Optional[int] = ..., response: _Optional[bytes] = ..., response_buffer: _Optional[int] = ..., response_use: _Optional[int] = ..., response_bytes: _Optional[int] = ...) -> None: ...

class Consumption(_message.Message):
    __slots__ = ("request_key", "responses")
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    request_key: int
    responses: int
    def __init__(self, request_key: _Optional[int] = ..., responses: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("request_key",)
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    request_key: int
    def __init__(self, request_key: _Optional[int] = ...) -> None: ...

class Cancellation(_message.Message):
    __slots__ = ("request_keys",)
    REQUEST_KEYS_FIELD_NUMBER: _ClassVar[int]
    request_keys: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request_keys: _Optional[_Iterable[int]] = ...) -> None: ...

class Handover(_message.Message):
    __slots__ = ("traceparent", "tracestate", "enqueue_ns", "deadline_ns", "envelope", "request")
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_NS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    traceparent: str
    tracestate: str
    enqueue_ns: int
    deadline_ns: int
    envelope: _envelope_pb2.Envelope
    request: bytes
    def __init__(self, traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., enqueue_ns: _Optional[int] = ..., deadline_ns: _Optional[int] = ..., envelope: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., request: _Optional[bytes] = ...) -> None: ...
