"""Programs of torch.export, loaded and run."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.utils import _pytree as pytree

from services.inference.backends.backend import Array, Arrays, Model, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.mapped_weights import map_weights
from services.inference.backends.samples import sample, working_sizes
from services.inference.backends.torch_devices import device_of
from services.inference.backends.torch_runtime import (
    AOT,
    DATATYPES,
    OPTIONS,
    cause,
    check_options,
    frozen,
    graph_variants,
    laid_out,
    prepare,
    recorded,
    with_layout,
)
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import Level

_SIZED = {"view": "reshape", "reshape": "reshape", "expand": "expand"}
_UNBOUNDED = 2**31 - 1


def variants(model: Model, level: Level) -> list[dict[str, str]]:
    """See ``Backend.variants``."""
    has_compiler = any(map(shutil.which, ("g++", "clang++")))
    compiled = [{"compile": AOT}] if level is Level.FULL and has_compiler else []
    return graph_variants(model.signature, model.device) + compiled


def load(files: ModelFiles, name: str, placement: Placement, options: Mapping[str, str]) -> TorchExportModel:
    """Load a torch.export archive, the file of that name.

    Raises:
        LoadError: see ``Backend.load``.
    """
    check_options(options, {**OPTIONS, "compile": (AOT,)})
    device = prepare(placement)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with files.path(name).open("rb") as file:  # by its name, torch would want the suffix .pt2
                program = torch.export.load(file)
            map_weights(program.state_dict.values(), files.path(name))
            if device != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            model = TorchExportModel(program, device, options)
            if "compile" in options:
                model.compile(program, files)
            if how := options.get("graph"):
                model.freeze(how)
            model.record()
            return model
    except LoadError:
        raise
    except Exception as error:  # whatever a foreign archive provokes
        raise LoadError(f"torch can't load the archive: {public_message(error)}") from error


class TorchExportModel:
    """An exported program.

    Inputs are named as the program names its own (nested ones flattened); outputs by their keys where the program gives
    a dict, else "output_0", "output_1", …
    """

    def __init__(self, program: Any, device: str, options: Mapping[str, str]) -> None:
        self.device = device
        self._device = device_of(device)
        self._options = options
        self._module = program.module()
        if options.get("layout"):
            _allow_any_layout(with_layout(self._module, options))
        self._run: Callable[..., Any] = self._run_module
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

    def freeze(self, how: str) -> None:
        """Run a TorchScript graph of the program from now on, traced with made-up inputs, its weights constants."""
        (free_size,) = working_sizes(self, self.signature)
        arrays = self._given(sample(self.signature, rows=2, free_size=free_size))
        example = [laid_out(tensor, self._options) for tensor in self._device.tensors(arrays)]
        with torch.no_grad():
            traced = torch.jit.trace(_Traceable(self._module, self._run), tuple(example), check_trace=False)
            self._run = frozen(traced, how)
        del self._module

    def compile(self, program: Any, files: ModelFiles) -> None:
        """Run native code of the program from now on; it is compiled where this torch has not done so before."""
        product = files.product(f"aot-{torch.__version__}-{self.device}.pt2")
        if not product.exists():
            _compile(program, product)
        self._module = torch._inductor.aoti_load_package(str(product))  # noqa: SLF001 - documented under this name

    def record(self) -> None:
        """Run from recordings from now on, if the options say so."""
        self._run = recorded(self._run, self._options, self.signature, device=self.device)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        try:
            outputs = self._device.run(self._infer, self._given(inputs))
        except Exception as error:  # whatever the program provokes
            raise RunError(cause(error)) from error
        return dict(zip(self._output_names, outputs, strict=True))

    def _infer(self, *tensors: Any) -> Sequence[Any]:
        outputs: Sequence[Any] = self._run(*(laid_out(tensor, self._options) for tensor in tensors))
        return outputs

    def _given(self, inputs: Arrays) -> list[tuple[Array, str]]:
        """The tensor inputs, in the program's order."""
        return [(inputs[name], self._kinds[name]) for name, _ in self._arguments if name is not None]

    def _run_module(self, *tensors: Any) -> tuple[Any, ...]:
        given = iter(tensors)
        flat = [constant if name is None else next(given) for name, constant in self._arguments]
        args, kwargs = pytree.tree_unflatten(flat, self._tree)
        return tuple(pytree.tree_leaves(self._module(*args, **kwargs)))


def _compile(program: Any, product: Path) -> None:
    """Compile a program ahead of time. It is written elsewhere first: a file that is there is whole."""
    from torch._inductor.utils import fresh_cache

    configs = {"freezing": True, "compile_threads": 1}
    with tempfile.TemporaryDirectory() as folder, fresh_cache():
        package = torch._inductor.aoti_compile_and_package(  # noqa: SLF001 - documented under this name
            program, package_path=str(Path(folder, "product.pt2")), inductor_configs=configs
        )
        partial = product.with_name(f"{product.name}.partial")
        shutil.move(package, partial)
        partial.replace(product)


def _allow_any_layout(module: Any) -> None:
    """Not every view can be had of a tensor whose layout was changed; reshaping gives the same, with a copy at need."""
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
    module.recompile()


class _Traceable(torch.nn.Module):
    """A program that takes and gives nothing but tensors.

    The tracer would take sizes for constants where they go through ``torch.ops``: methods of tensors do the same, and
    it sees them. What it misses all the same fails on another batch size, and the variant with it.
    """

    def __init__(self, module: Any, run: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self._run = run
        for node in module.graph.nodes:
            name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
            if node.target is torch.ops.aten.sym_size.int:
                node.op, node.target = "call_method", "size"
            elif node.op == "call_function" and name in _SIZED:
                node.op, node.target = "call_method", _SIZED[name]
        module.recompile()

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        outputs: tuple[Any, ...] = self._run(*tensors)
        return outputs


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
