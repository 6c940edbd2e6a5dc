"""Generate the Python modules of every proto into the package that its path names.

File path = proto package = Python package, so the generated imports need no rewriting. ``--check`` generates into a
temporary folder and fails when the committed modules differ.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(target: Path) -> list[Path]:
    """Generate all modules under ``target``; return their paths relative to it."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    googleapis = Path(str(files("google").joinpath("api"))).parent.parent
    bundled = Path(str(files("grpc_tools").joinpath("_proto")))
    status = protoc.main(
        [
            "protoc",
            *(f"-I{folder}" for folder in (PROTOS, googleapis, bundled)),
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    if status != 0:
        sys.exit(f"protoc failed with exit status {status}")
    for path in target.glob("penstock/**/*_pb2_grpc.py"):
        if "Stub" not in path.read_text():
            path.unlink()  # a file of messages only
    made = [path.relative_to(target) for path in target.glob("penstock/**/*_pb2*.py*")]
    for module in made:
        for folder in (module.parent, module.parent.parent):
            (target / folder / "__init__.py").touch()
    return sorted(made)


def drift() -> list[str]:
    """Names of generated modules that are missing, stale or left over in the tree."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        wrong = [
            str(path)
            for path in made
            if not (ROOT / path).is_file() or not filecmp.cmp(Path(folder) / path, ROOT / path, shallow=False)
        ]
        committed = {path.relative_to(ROOT) for path in (ROOT / "penstock").glob("**/*_pb2*.py*")}
        return wrong + [str(path) for path in sorted(committed - set(made)) if "__pycache__" not in path.parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed modules are stale")
    if parser.parse_args().check:
        if stale := drift():
            sys.exit("stale generated modules, run `make protos`: " + ", ".join(stale))
    else:
        generate(ROOT)


if __name__ == "__main__":
    main()
