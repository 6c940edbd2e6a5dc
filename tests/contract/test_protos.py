"""Our protos follow the rules, and each rule catches what it is for."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from protos.generate import PROTOS, drift
from tests.contract import proto_rules as rules

SOURCES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
GENERATED = sorted(
    ".".join(path.relative_to(rules.ROOT).with_suffix("").parts) for path in rules.ROOT.glob("penstock/*/v1/*_pb2*.py")
)
IMPORTS = """
import "google/api/annotations.proto";
import "google/api/resource.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/timestamp.proto";
"""
WRONG = [
    (rules.package_is_directory_and_versioned, "package penstock.other.v1;"),
    (rules.package_is_directory_and_versioned, "package penstock.registry;"),
    (rules.services_have_files_of_their_own, "service Registry {}"),
    (rules.rpcs_own_their_messages, "message M {} service S { rpc Get(M) returns (M); }"),
    (rules.enums_begin_unspecified, "enum ModelState { MODEL_STATE_READY = 0; }"),
    (rules.enums_begin_unspecified, "enum ModelState { MODEL_STATE_UNSPECIFIED = 0; READY = 1; }"),
    (
        rules.lists_page,
        "message ListRequest {} message R {} service S { rpc ListM(ListRequest) returns (R); }",
    ),
    (
        rules.creates_take_a_request_id,
        "message CreateMRequest {} message R {} service S { rpc CreateM(CreateMRequest) returns (R); }",
    ),
    (
        rules.changes_carry_an_etag,
        "message DeleteMRequest {} message R {} service S { rpc DeleteM(DeleteMRequest) returns (R); }",
    ),
    (
        rules.changes_carry_an_etag,
        'message M { option (google.api.resource) = {type: "a/M"}; google.protobuf.Timestamp update_time = 1; }',
    ),
    (rules.resources_are_named, 'message M { option (google.api.resource) = {type: "a/M"}; string id = 1; }'),
    (rules.times_and_sizes_say_their_unit, "message M { google.protobuf.Timestamp created = 1; }"),
    (rules.times_and_sizes_say_their_unit, "message M { google.protobuf.Duration timeout = 1; }"),
    (rules.times_and_sizes_say_their_unit, "message M { int64 create_time = 1; }"),
    (rules.times_and_sizes_say_their_unit, "message M { int64 load_duration = 1; }"),
    (rules.times_and_sizes_say_their_unit, "message M { int64 wait_us = 1; }"),
    (rules.times_and_sizes_say_their_unit, "message M { int32 wait_ns = 1; }"),
    (rules.fields_are_snake_case, "message M { string modelName = 1; }"),
    (rules.everything_is_commented, "message M {}"),
    (rules.everything_is_commented, "// M.\nmessage M { string name = 1; }"),
    (rules.everything_is_commented, "// M.\nmessage M {\n // E.\n enum E { E_UNSPECIFIED = 0; } }"),
    (rules.everything_is_commented, "// S.\nservice S { rpc Get(M) returns (M); }\n // M.\nmessage M {}"),
    (rules.rpcs_can_be_transcoded, "message M {} service S { rpc Get(M) returns (M); }"),
    (
        rules.rpcs_can_be_transcoded,
        'message M {} service S { rpc Get(M) returns (M) { option (google.api.http) = {get: "/v1/{name=a/*}"}; } }',
    ),
]


@pytest.fixture(scope="module")
def files() -> list[FileDescriptorProto]:
    return rules.compile_protos(PROTOS, sources=SOURCES)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_our_protos_follow(rule: rules.Rule, files: list[FileDescriptorProto]) -> None:
    assert [f"{file.name}: {violation}" for file in files for violation in rule(file)] == []


@pytest.mark.parametrize(("rule", "text"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_catches_what_it_is_for(rule: rules.Rule, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "penstock/registry/v1"
    folder.mkdir(parents=True)
    package = "" if text.startswith("package") else "package penstock.registry.v1;"
    (folder / "wrong.proto").write_text(f'syntax = "proto3"; {package}\n{IMPORTS}\n{text}')

    (file,) = rules.compile_protos(tmp_path, sources=["penstock/registry/v1/wrong.proto"])

    assert list(rule(file))


def test_every_rule_is_shown_to_catch_something() -> None:
    assert {rule for rule, _ in WRONG} == set(rules.RULES)


def test_generated_modules_are_those_of_the_protos() -> None:
    assert drift() == [], "run `make protos`"


@pytest.mark.parametrize("module", GENERATED)
def test_a_generated_module_imports(module: str) -> None:
    importlib.import_module(module)
