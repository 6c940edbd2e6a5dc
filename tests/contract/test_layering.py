"""Who may import what: import-linter's contracts, and the rules that it can't express."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DOMAIN = re.compile(r"services\.\w+\.domain(\.|$)")
DOMAIN_MAY_IMPORT = re.compile(
    r"(numpy|services\.common\.(datatypes|errors|forms|model_paths|names))(\.|$)"
    # plain values
    r"|services\.common\.(lanes\.LaneKeys|trace_context\.TraceContext|trust\.Outcome)$"
)
SPEAKS_GRPC = re.compile(
    r"services\.common\.(boundary|discovery\.channel|serving|status|tracing|watch)$"
    r"|services\.(\w+\.)+((\w+_)?(servicers?|codecs?|link|server)|adapters|fronts)(\.|$)"
    r"|services\.inference\.backends\.remote$"
    r"|penstock(\.|$)"
)
GRPC = re.compile(r"grpc(_\w+)?(\.|$)|.*_pb2_grpc(\.|$)")
READS_ENVIRONMENT = re.compile(r"services$|services\.\w+\.(settings|environment)$|penstock(\.|$)")
RUNS_WHAT_IT_READS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
LOADS_WHAT_IS_TRUSTED = "services.inference.backends.sklearn_pickle"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Our own modules by name; generated ones left out."""
    for path in sorted([*ROOT.glob("services/**/*.py"), *ROOT.glob("penstock/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "_pb2" not in path.name:
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text(), filename=str(path))


def imports_of(name: str, tree: ast.Module) -> Iterator[str]:
    """Full names of what a module imports, anywhere in it, type-checking blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = dict(modules())


def strangers(importer: re.Pattern[str], *, is_wrong: re.Pattern[str]) -> list[str]:
    """Imports that only modules matching ``importer`` may make."""
    return [
        f"{name} imports {imported}"
        for name, tree in MODULES.items()
        if not importer.match(name)
        for imported in imports_of(name, tree)
        if is_wrong.match(imported)
    ]


def test_the_import_contracts_hold() -> None:
    # In a process of its own: import-linter silences the loggers of the one that it runs in.
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_a_domain_knows_the_standard_library_and_numpy_only() -> None:
    found = []
    for name, tree in MODULES.items():
        if DOMAIN.match(name):
            own = name[: name.index(".domain") + len(".domain")]
            found += [
                f"{name} imports {imported}"
                for imported in imports_of(name, tree)
                if imported.split(".")[0] not in sys.stdlib_module_names
                and not imported.startswith(own)
                and not DOMAIN_MAY_IMPORT.match(imported)
            ]

    assert found == []


def test_grpc_is_spoken_at_the_edges_only() -> None:
    assert strangers(SPEAKS_GRPC, is_wrong=GRPC) == []


def test_nothing_imports_what_runs_code_while_loading() -> None:
    assert [
        f"{name} imports {imported}"
        for name, tree in MODULES.items()
        for imported in imports_of(name, tree)
        if imported.split(".")[0] in RUNS_WHAT_IT_READS and name != LOADS_WHAT_IS_TRUSTED
    ] == []


def test_the_environment_is_read_in_settings_only() -> None:
    found = [
        f"{name}, line {node.lineno}"
        for name, tree in MODULES.items()
        if not READS_ENVIRONMENT.match(name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]

    assert found == []


_LEARNING = {"torch", "onnxruntime", "onnx", "sklearn"}


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("services.gateway.server", {*_LEARNING, "consul", "sqlalchemy"}),
        ("services.registry.server", {*_LEARNING, "alembic", "consul", "redis", "opentelemetry"}),
        ("services.monitor.server", {*_LEARNING, "consul", "redis"}),
        ("services.inference.server", {*_LEARNING, "consul", "sqlalchemy", "starlette"}),
        ("services.inference.model_process.server", {*_LEARNING, "prometheus_client", "pydantic"}),
        ("services.inference.inspector", {*_LEARNING, "prometheus_client", "pydantic", "redis"}),
        ("penstock.launcher.supervisor", {*_LEARNING, "numpy", "redis", "sqlalchemy"}),
        ("penstock.cli", {*_LEARNING, "numpy", "pydantic", "tritonclient"}),
    ],
)
def test_a_process_starts_without_what_it_rarely_needs(module: str, unneeded: set[str]) -> None:
    """Models are loaded in model processes and nowhere else; and an idle suite is small and quick to start."""
    code = f"import sys, {module}; print(sorted({unneeded} & sys.modules.keys()))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
