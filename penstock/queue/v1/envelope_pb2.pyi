from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Arm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARM_UNSPECIFIED: _ClassVar[Arm]
    ARM_CANARY: _ClassVar[Arm]
    ARM_SHADOW: _ClassVar[Arm]
ARM_UNSPECIFIED: Arm
ARM_CANARY: Arm
ARM_SHADOW: Arm

class Envelope(_message.Message):
    __slots__ = ("request_key", "gateway_id", "reply_address", "request_id", "rows", "tenant", "priority", "payload_bytes", "is_sampled", "payload_buffer", "payload_use", "arm", "is_drawn")
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_SAMPLED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BUFFER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_USE_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    IS_DRAWN_FIELD_NUMBER: _ClassVar[int]
    request_key: int
    gateway_id: str
    reply_address: str
    request_id: str
    rows: int
    tenant: str
    priority: int
    payload_bytes: int
    is_sampled: bool
    payload_buffer: int
    payload_use: int
    arm: Arm
    is_drawn: bool
    def __init__(self, request_key: _Optional[int] = ..., gateway_id: _Optional[str] = ..., reply_address: _Optional[str] = ..., request_id: _Optional[str] = ..., rows: _Optional[int] = ..., tenant: _Optional[str] = ..., priority: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., is_sampled: _Optional[bool] = ..., payload_buffer: _Optional[int] = ..., payload_use: _Optional[int] = ..., arm: _Optional[_Union[Arm, str]] = ..., is_drawn: _Optional[bool] = ...) -> None: ...
