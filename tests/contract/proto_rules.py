"""The rules that our protos follow (buf's style, Google's AIPs), each as a function from files to violations."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
INTEGERS = {FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_UINT64}
TRANSCODED = ("penstock.registry.", "penstock.monitor.")
"""Packages whose rpcs any REST-to-gRPC transcoder can front."""

Rule = Callable[[FileDescriptorProto], Iterator[str]]


def compile_protos(folder: Path, *, sources: list[str]) -> list[FileDescriptorProto]:
    """Compile ``sources`` (relative to ``folder``) with their comments.

    Raises:
        ValueError: protoc refuses them.
    """
    googleapis = Path(str(files("google").joinpath("api"))).parent.parent
    bundled = Path(str(files("grpc_tools").joinpath("_proto")))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "set.bin")
        includes = [f"-I{path}" for path in (folder, googleapis, bundled)]
        if protoc.main(["protoc", *includes, "--include_source_info", f"--descriptor_set_out={target}", *sources]):
            raise ValueError(f"protoc refuses {sources}")
        return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def messages_of(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str, DescriptorProto]]:
    """Every message, nested ones too, with its path in the source info and its dotted name; map entries left out."""
    top = enumerate(file.message_type)
    queue: list[tuple[tuple[int, ...], str, DescriptorProto]] = [
        ((4, at), message.name, message) for at, message in top
    ]
    while queue:
        path, name, message = queue.pop(0)
        if not message.options.map_entry:
            yield path, name, message
            nested = enumerate(message.nested_type)
            queue.extend(((*path, 3, index), f"{name}.{inner.name}", inner) for index, inner in nested)


def enums_of(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str, EnumDescriptorProto]]:
    """Every enum with its path in the source info and its dotted name."""
    for index, enum in enumerate(file.enum_type):
        yield (5, index), enum.name, enum
    for path, name, message in messages_of(file):
        for index, enum in enumerate(message.enum_type):
            yield (*path, 4, index), f"{name}.{enum.name}", enum


def rpcs_of(file: FileDescriptorProto) -> Iterator[MethodDescriptorProto]:
    return (rpc for service in file.service for rpc in service.method)


def message_in(file: FileDescriptorProto, type_name: str) -> dict[str, FieldDescriptorProto]:
    """Fields by name of a message of this file; none where the type lives elsewhere."""
    found = {f".{file.package}.{name}": message for _, name, message in messages_of(file)}.get(type_name)
    return {} if found is None else {field.name: field for field in found.field}


def package_is_directory_and_versioned(file: FileDescriptorProto) -> Iterator[str]:
    folder, _, stem = file.name.removesuffix(".proto").rpartition("/")
    if file.package != folder.replace("/", "."):
        yield f"package {file.package} in folder {folder}"
    if not re.fullmatch(r"penstock\.[a-z]+\.v[1-9]\d*", file.package):
        yield f"package {file.package} isn't penstock.<part>.v<number>"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", stem):
        yield f"file name {stem} isn't lower_snake_case"


def services_have_files_of_their_own(file: FileDescriptorProto) -> Iterator[str]:
    if bool(file.service) != file.name.endswith("_service.proto"):
        yield f"{len(file.service)} services in {file.name}"
    yield from (f"service {service.name}" for service in file.service if not service.name.endswith("Service"))


def rpcs_own_their_messages(file: FileDescriptorProto) -> Iterator[str]:
    for rpc in rpcs_of(file):
        for type_name, suffix in ((rpc.input_type, "Request"), (rpc.output_type, "Response")):
            if type_name != f".{file.package}.{rpc.name}{suffix}":
                yield f"rpc {rpc.name} uses {type_name}"


def enums_begin_unspecified(file: FileDescriptorProto) -> Iterator[str]:
    for _, name, enum in enums_of(file):
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
        if enum.value[0].name != f"{prefix}UNSPECIFIED" or enum.value[0].number != 0:
            yield f"{name} begins with {enum.value[0].name}"
        yield from (f"{name}.{value.name}" for value in enum.value if not value.name.startswith(prefix))


def lists_page(file: FileDescriptorProto) -> Iterator[str]:
    for rpc in rpcs_of(file):
        if not rpc.name.startswith("List"):
            continue
        asked, answered = message_in(file, rpc.input_type), message_in(file, rpc.output_type)
        if missing := {"page_size", "page_token"} - asked.keys():
            yield f"{rpc.name} can't be asked for {sorted(missing)}"
        if "next_page_token" not in answered:
            yield f"{rpc.name} doesn't answer next_page_token"
        if sum(field.label == FieldDescriptorProto.LABEL_REPEATED for field in answered.values()) != 1:
            yield f"{rpc.name} answers other than one list"


def creates_take_a_request_id(file: FileDescriptorProto) -> Iterator[str]:
    for rpc in rpcs_of(file):
        if rpc.name.startswith("Create") and "request_id" not in message_in(file, rpc.input_type):
            yield rpc.name


def changes_carry_an_etag(file: FileDescriptorProto) -> Iterator[str]:
    """Deletes in the request; updates in the resource, so that resources (wherever they live) have one."""
    for rpc in rpcs_of(file):
        if rpc.name.startswith("Delete") and "etag" not in message_in(file, rpc.input_type):
            yield rpc.name
    for _, name, message in messages_of(file):
        fields = {field.name for field in message.field}
        if message.options.HasExtension(resource_pb2.resource) and "update_time" in fields and "etag" not in fields:
            yield name


def resources_are_named(file: FileDescriptorProto) -> Iterator[str]:
    for _, name, message in messages_of(file):
        if message.options.HasExtension(resource_pb2.resource):
            first = message.field[0]
            behaviour = first.options.Extensions[field_behavior_pb2.field_behavior]
            if (first.name, first.number) != ("name", 1) or field_behavior_pb2.IDENTIFIER not in behaviour:
                yield f"{name} begins with {first.name}"


def times_and_sizes_say_their_unit(file: FileDescriptorProto) -> Iterator[str]:
    for _, name, message in messages_of(file):
        for field in message.field:
            if not _unit_fits(field):
                yield f"{name}.{field.name}"


def _unit_fits(field: FieldDescriptorProto) -> bool:
    is_instant, is_span = (field.type_name == f".google.protobuf.{kind}" for kind in ("Timestamp", "Duration"))
    if is_instant or field.name.endswith("_time"):
        return is_instant and field.name.endswith("_time")
    if is_span or re.search(r"(^|_)(duration|window)$", field.name):
        return is_span and re.search(r"(^|_)(duration|window)$", field.name) is not None
    if field.name.endswith(("_ns", "_bytes", "_microseconds")):
        return field.type in INTEGERS
    if field.name.endswith("_seconds"):
        return field.type == FieldDescriptorProto.TYPE_DOUBLE
    return not field.name.endswith(("_at", "_us", "_ms", "_millis", "_secs", "_timestamp", "_kb", "_mb"))


def fields_are_snake_case(file: FileDescriptorProto) -> Iterator[str]:
    for _, name, message in messages_of(file):
        for field in message.field:
            if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", field.name):
                yield f"{name}.{field.name}"


def everything_is_commented(file: FileDescriptorProto) -> Iterator[str]:
    comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    yield from (name for path, name in _declarations(file) if not comments.get(path))


def _declarations(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for path, name, message in messages_of(file):
        yield path, name
        yield from (((*path, 2, index), f"{name}.{field.name}") for index, field in enumerate(message.field))
        yield from (((*path, 8, index), f"{name}.{choice.name}") for index, choice in enumerate(message.oneof_decl))
    for path, name, enum in enums_of(file):
        yield path, name
        yield from (((*path, 2, index), f"{name}.{value.name}") for index, value in enumerate(enum.value))
    for at, service in enumerate(file.service):
        yield (6, at), service.name
        yield from (((6, at, 2, index), f"{service.name}.{rpc.name}") for index, rpc in enumerate(service.method))


def rpcs_can_be_transcoded(file: FileDescriptorProto) -> Iterator[str]:
    """Every rpc has an HTTP route of its own, whose variables and body are fields of its request.

    Client streams and streams of raw bytes (a field ``chunk``) have no form in JSON and are left out.
    """
    routes: set[tuple[str, str]] = set()
    for rpc in rpcs_of(file):
        is_raw = "chunk" in message_in(file, rpc.output_type)
        if not file.package.startswith(TRANSCODED) or rpc.client_streaming or is_raw:
            continue
        http = rpc.options.Extensions[annotations_pb2.http]
        verb = http.WhichOneof("pattern")
        if verb is None:
            yield f"{rpc.name} has no route"
            continue
        path = getattr(http, verb)
        route = (verb, re.sub(r"\{[\w.]+=([^}]*)\}", r"\1", path))
        if route in routes:
            yield f"{rpc.name} shares {verb} {path}"
        routes.add(route)
        fields = message_in(file, rpc.input_type)
        used = {variable.split(".")[0] for variable in re.findall(r"\{([\w.]+)", path)} | ({http.body} - {"", "*"})
        if strangers := used - fields.keys():
            yield f"{rpc.name} has no field {sorted(strangers)}"
        if bool(http.body) != (verb in ("post", "put", "patch")):
            yield f"{rpc.name}: {verb} with body {http.body!r}"


RULES: tuple[Rule, ...] = (
    package_is_directory_and_versioned,
    services_have_files_of_their_own,
    rpcs_own_their_messages,
    enums_begin_unspecified,
    lists_page,
    creates_take_a_request_id,
    changes_carry_an_etag,
    resources_are_named,
    times_and_sizes_say_their_unit,
    fields_are_snake_case,
    everything_is_commented,
    rpcs_can_be_transcoded,
)
