"""torch.export archives (.pt2). Loading one can run code that it brings: only for trusted files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.utils import _pytree as pytree

from services.inference.backends import Array, Arrays, LoadError, Placement, RunError, public_message
from services.inference.backends.torch_runtime import DATATYPES, prepare, to_array, to_tensor
from services.inference.domain.signature import Signature, TensorSpec

_UNBOUNDED = 2**31 - 1


def load(path: Path, placement: Placement) -> TorchExportModel:
    """Load a torch.export archive.

    Raises:
        LoadError: see ``backends.load``.
    """
    device = prepare(placement)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with path.open("rb") as file:  # by its name, torch would want the suffix .pt2
                program = torch.export.load(file)
            if device != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            return TorchExportModel(program, device)
    except LoadError:
        raise
    except Exception as error:  # whatever a foreign archive provokes
        raise LoadError(f"torch can't load the archive: {public_message(error)}") from error


class TorchExportModel:
    """An exported program.

    Inputs are named as the program names its own (nested ones flattened); outputs by their keys where the program gives
    a dict, else "output_0", "output_1", …
    """

    def __init__(self, program: Any, device: str) -> None:
        self.device = device
        self._run = program.module()
        self._tree = program.call_spec.in_spec
        arguments = [one.arg for one in program.graph_signature.input_specs if one.kind is InputKind.USER_INPUT]
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self._arguments: list[tuple[str | None, Any]] = [_argument(one) for one in arguments]
        names = [name for name, _ in self._arguments if name is not None]
        given = list(program.graph_signature.user_outputs)
        self._output_names = _output_names(program.call_spec.out_spec, len(given))
        inputs = tuple(_spec(name, values[name]) for name in names)
        outputs = tuple(_spec(name, values.get(one)) for name, one in zip(self._output_names, given, strict=True))
        tensors = [values[name] for name in names] + [values[one] for one in given]
        batch = _shared_first_symbol(tensors)
        self.signature = Signature(
            inputs,
            outputs,
            is_batchable=batch is not None,
            max_batch_size=0 if batch is None else _upper_bound(program.range_constraints, batch),
        )
        self._kinds = {spec.name: spec.datatype for spec in inputs}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        flat = [
            constant if name is None else to_tensor(inputs[name], self._kinds[name], self.device)
            for name, constant in self._arguments
        ]
        args, kwargs = pytree.tree_unflatten(flat, self._tree)
        try:
            with torch.inference_mode():
                outputs = pytree.tree_leaves(self._run(*args, **kwargs))
        except Exception as error:  # whatever the program provokes
            raise RunError(public_message(error)) from error
        return {name: to_array(output) for name, output in zip(self._output_names, outputs, strict=True)}


def _argument(argument: Any) -> tuple[str | None, Any]:
    """Name of a tensor argument, or the value of one that was fixed at export."""
    if isinstance(argument, TensorArgument):
        return argument.name, None
    if isinstance(argument, ConstantArgument):
        return None, argument.value
    raise LoadError(f"input {argument.name!r} is a {type(argument).__name__}: expected tensors only")


def _output_names(tree: Any, count: int) -> list[str]:
    keys = tree.context if tree.type is dict else None
    if keys is not None and len(keys) == count:
        return [str(key) for key in keys]
    return [f"output_{number}" for number in range(count)]


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise LoadError(f"{name!r} is a {type(value).__name__}: expected a tensor")
    if value.dtype not in DATATYPES:
        raise LoadError(f"{name!r} has the type {value.dtype}: expected one of {', '.join(map(str, DATATYPES))}")
    return TensorSpec(
        name, DATATYPES[value.dtype], tuple(size if isinstance(size, int) else -1 for size in value.shape)
    )


def _shared_first_symbol(tensors: list[Any]) -> Any:
    """The symbol that is the first dimension of every tensor; None when there is no such."""
    firsts: list[Any] = [tensor.shape[0] if tensor.shape else 0 for tensor in tensors]
    if not firsts or any(isinstance(size, int) for size in firsts):
        return None
    symbols = {size.node.expr for size in firsts}
    return symbols.pop() if len(symbols) == 1 else None


def _upper_bound(constraints: Any, symbol: Any) -> int:
    """The most that the symbol may stand for; 0 where it is unbounded."""
    upper: Any = constraints[symbol].upper if symbol in constraints else None
    return int(upper) if getattr(upper, "is_Integer", False) and upper < _UNBOUNDED else 0
