"""A CUDA device that is none: real numbers, computed on the CPU, in tensors that say `cuda:0`.

Inside `installed` code that is written for a GPU runs on a machine without one, and gives the
numbers that the CPU gives. What PyTorch refuses on a GPU is refused here: operations on tensors of
both devices, conversions to NumPy, generators of the wrong device, allocations beyond the capacity,
and what its CUDA kernels cannot do that those of the CPU can. Speed, TF32 and kernels chosen by
their layout are not imitated.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda:0")
CAPACITY = 8 << 30

aten = torch.ops.aten
# Operations that may read from one device and write to the other.
_BETWEEN_DEVICES = {aten.copy_.default, aten.set_.source_Tensor}
# Operations whose indices may lie on the CPU whatever they index.
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_INDEXING |= {aten._index_put_impl_.default}
# Operations that end when the device does, since the host goes on with what they give.
_WAITING = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
_WAITING |= {aten.masked_select.default}
# Factories whose numbers come from the host.
_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray}
# Operations that do not even take numbers from the other device.
_STRICT = {aten.cat.default, aten.stack.default}
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}


class CudaTensor(Tensor):
    """A tensor of the CPU that says to be on `cuda:0`, and stays among its own kind."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        _check_devices(func, args, kwargs)
        _check_kernel(func, args, kwargs)
        if _makes_wait(func, args):
            _wait(func)
        with torch._C._DisableTorchDispatch():
            results = func(*args, **kwargs)
        given = {id(tensor) for tensor in _tensors(*args, *kwargs.values())}
        return _each(lambda result: result if id(result) in given else _raised(result), results)

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def get_device(self) -> int:
        return 0

    def tolist(self) -> Any:
        return _lowered(self.detach()).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return _lowered(self.detach()).numpy()
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"{_lowered(self.detach())!r} on {DEVICE}"

    def __format__(self, specification: str) -> str:
        return format(_lowered(self.detach()), specification)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CudaTensor":
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        copied.__dict__.update(self.__dict__)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise NotImplementedError("no test pickles tensors")


class Memory:
    """What lies on the device: counted by storages, as an allocator without gaps would."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = 0  # bytes of these, of which some may be gone

    @property
    def allocated(self) -> int:
        """Bytes of all storages that something still holds."""
        self._storages = {k: v for k, v in self._storages.items() if not v[0].expired()}
        self._at_most = sum(size for _, size in self._storages.values())
        return self._at_most

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is not None and not known[0].expired():
            return
        self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._at_most += storage.nbytes()
        if self._at_most <= min(self.peak, self.capacity):
            return
        allocated = self.allocated
        if allocated > self.capacity:
            del self._storages[storage._cdata]
            raise torch.OutOfMemoryError("CUDA out of memory. The fake device is full.")
        self.peak = max(self.peak, allocated)


_memory = Memory(CAPACITY)


@contextlib.contextmanager
def installed(capacity: int = CAPACITY) -> Iterator[Memory]:
    """Have a fake `cuda:0` inside the block.

    Parameters
    ----------
    capacity
        Bytes beyond which allocations raise `torch.OutOfMemoryError`.

    Yields
    ------
    Memory
        What is allocated, the peak, and the capacity, which may be changed.
    """
    global _memory
    before, _memory = _memory, Memory(capacity)
    try:
        with contextlib.ExitStack() as stack:
            for name, value in _CUDA.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, value))
            # Streams and what is recorded on them are not imitated.
            stack.enter_context(mock.patch.dict(os.environ, {"TRUEHESSIAN_CUDA_GRAPHS": "0"}))
            stack.enter_context(mock.patch.object(nn.Module, "_apply", _apply))
            stack.enter_context(
                mock.patch.object(torch.backends.cudnn, "is_acceptable", return_value=False)
            )
            stack.enter_context(
                mock.patch.object(torch.autograd, "_engine_run_backward", _differentiate)
            )
            stack.enter_context(_Zeros())
            stack.enter_context(_Mode())
            yield _memory
    finally:
        _memory = before


@contextlib.contextmanager
def waits() -> Iterator[list[Any]]:
    """List what makes the host wait for the device inside the block: copies and numbers read."""
    global _waits
    before, _waits = _waits, []
    try:
        yield _waits
    finally:
        _waits = before


class _Mode(TorchFunctionMode):
    """Lets functions that name a device have the fake one."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with _called_by(engine=False):
            return self._call(func, args, kwargs)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is Tensor.to:
            return _to(*args, **kwargs)
        if func is Tensor.cpu:
            return _placed(args[0], torch.device("cpu"))
        if func is Tensor.cuda:
            return _placed(args[0], _known(kwargs.get("device", "cuda")))
        if func in _RECURRENT:
            return _recur(func, *args, **kwargs)
        device = kwargs.get("device")
        elsewhere = device is None or torch.device(device).type not in ("cpu", "cuda")
        if elsewhere or func is torch._C._nn._parse_to:
            return func(*args, **kwargs)
        _check_generator(device, kwargs.get("generator"))
        device = _known(device)
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            return _to(args[0], device, kwargs.get("dtype") or args[0].dtype)
        unpinned = {"pin_memory": False} if kwargs.get("pin_memory") else {}
        made = func(*args, **{**kwargs, "device": "cpu", **unpinned})
        if func in _FROM_DATA:
            return _placed(made, device)
        with _uncounted():  # made where it lies
            return _placed(made, device)


class _Zeros(TorchDispatchMode):
    """Marks zeros that the engine makes itself: it takes them for the device of a variable.

    To C++ all our tensors are on the CPU, and so are zeros that are made like them.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = list(_tensors(*args, *(kwargs or {}).values()))
        own = _in_engine and not given and torch._C._current_graph_task_id() != -1
        if isinstance(result, Tensor) and (own or (given and all(map(_is_unplaced, given)))):
            result._unplaced = True
        return result


class _Transfer(Function):
    """A copy on the other device; its derivative is a copy back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        if isinstance(tensor, CudaTensor):
            return _lowered(tensor)
        _wait("copy to the device")
        return _raised(tensor.clone())

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        return _Transfer.apply(cotangent)


class _WithoutSecondDerivative(Function):
    """The identity, to be differentiated once only, as are the recurrent layers of cuDNN."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        if torch.is_grad_enabled():
            refused = torch._C._functions.DelayedError("double backward is not supported", 1)
            cotangent = refused(cotangent + 0 * sum(weight.sum() for weight in ctx.saved_tensors))
        return cotangent, *[None for _ in ctx.saved_tensors]


_in_engine = False
_waits: list[Any] | None = None


@contextlib.contextmanager
def _called_by(*, engine: bool) -> Iterator[None]:
    """Know whether what runs was called by the engine, in C++, or by Python."""
    global _in_engine
    before, _in_engine = _in_engine, engine
    try:
        yield
    finally:
        _in_engine = before


def _differentiate(*args: Any, **kwargs: Any) -> Any:
    """Run the engine; PyTorch has put our mode aside, which backward passes in Python need."""
    with _Mode(), _called_by(engine=True):
        return _each(_settled, _RUN_ENGINE(*args, **kwargs))


def _tensors(*values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(*value)


def _each(function: Callable[[Tensor], Tensor], results: Any) -> Any:
    if isinstance(results, Tensor):
        return function(results)
    if isinstance(results, list | tuple):
        return type(results)([_each(function, result) for result in results])
    return results


def _is_unplaced(tensor: Tensor) -> bool:
    return getattr(tensor, "_unplaced", False) and not isinstance(tensor, CudaTensor)


def _settled(tensor: Tensor) -> Tensor:
    return _raised(tensor) if _is_unplaced(tensor) else tensor


def _raised(tensor: Tensor) -> Tensor:
    """Take a tensor of the CPU for one of the fake device, without a copy."""
    if isinstance(tensor, CudaTensor):
        return tensor
    raised = Tensor._make_subclass(CudaTensor, tensor, tensor.requires_grad)
    _memory.add(raised)
    return raised


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    global _waits
    before, _waits = _waits, None
    try:
        yield
    finally:
        _waits = before


def _wait(reason: Any) -> None:
    if _waits is not None:
        _waits.append(reason)


def _makes_wait(func: Any, args: Any) -> bool:
    if func is aten.copy_.default:
        return not all(isinstance(tensor, CudaTensor) for tensor in args[:2])
    if func in _INDEXING:  # where a mask is true is counted, and other indices are copied
        return any(
            t.dtype == torch.bool or not isinstance(t, CudaTensor) for t in _tensors(args[1])
        )
    return func in _WAITING


def _lowered(tensor: Tensor) -> Tensor:
    """Copy a tensor of the fake device to the CPU."""
    _wait("copy to the host")
    with torch._C._DisableTorchDispatch():
        return aten.clone.default(tensor)


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor to a device; the same tensor if it is there."""
    if (device.type == "cuda") == isinstance(tensor, CudaTensor):
        return tensor
    if tensor.is_leaf and not tensor.requires_grad:
        return _Transfer.apply(tensor)
    if tensor.is_leaf and not torch.is_grad_enabled():
        return _Transfer.apply(tensor.detach())
    return _Transfer.apply(tensor)


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    other = kwargs.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
    if other is not None:
        args = (other.device, other.dtype, *args[1:])
    copy = kwargs.pop("copy", False) or (len(args) > 3 and args[3])
    device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    target = tensor.device if device is None else _known(device)
    if target.type not in ("cpu", "cuda"):
        return tensor.to(target, dtype)
    moved = target.type != tensor.device.type
    how = {"memory_format": memory_format} if memory_format is not None else {}
    tensor = tensor.to(dtype or tensor.dtype, copy=copy and not moved, **how)
    return _placed(tensor, target)  # in the new dtype, as PyTorch does it without `non_blocking`


def _known(device: Any) -> torch.device:
    device = torch.device(device)
    if device.type != "cuda":
        return device
    if device.index not in (None, 0):
        raise RuntimeError("CUDA error: invalid device ordinal")
    return DEVICE


def _recur(func: Any, inputs: Tensor, state: Any, weights: Any, *args: Any) -> Any:
    results = func(inputs, state, weights, *args)
    if not (isinstance(inputs, CudaTensor) and torch.backends.cudnn.enabled):
        return results
    return tuple(_WithoutSecondDerivative.apply(result, *weights) for result in results)


def _check_generator(device: Any, generator: torch.Generator | None) -> None:
    kind = torch.device(device).type
    if generator is not None and generator.device.type != kind:
        raise RuntimeError(
            f"Expected a '{kind}' device type for generator but found '{generator.device.type}'"
        )


def _check_devices(func: Any, args: Any, kwargs: Any) -> None:
    """Refuse what mixes devices; a number of the CPU may go into an operation on a GPU."""
    if func in _BETWEEN_DEVICES:
        return
    if func in _INDEXING:
        args = [args[0], *args[2:]] if isinstance(args[0], CudaTensor) else args
    for value in _tensors(*args, *kwargs.values()):
        if isinstance(value, CudaTensor):
            continue
        if not _is_unplaced(value) and (value.ndim or func in _STRICT):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! (in {func})"
            )


def _check_kernel(func: Any, args: Any, kwargs: Any) -> None:
    """Refuse what the kernels of CUDA refuse."""
    if func is aten.native_batch_norm_backward.default and (args[5] is None or args[6] is None):
        raise RuntimeError("save_mean->defined() INTERNAL ASSERT FAILED")


def _apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """Give parameters another class where they go to another device, and stay the same objects."""
    with mock.patch.object(torch.__future__, "_swap_module_params_on_conversion", True):
        return _MODULE_APPLY(self, fn, recurse)


_RUN_ENGINE = torch.autograd._engine_run_backward
_MODULE_APPLY = nn.Module._apply
_CUDA: dict[str, Any] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "device": lambda device: contextlib.nullcontext(),
    "device_of": lambda tensor: contextlib.nullcontext(),
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda device=None: (_memory.capacity - _memory.allocated, _memory.capacity),
    "memory_reserved": lambda device=None: _memory.allocated,
    "memory_allocated": lambda device=None: _memory.allocated,
    "max_memory_allocated": lambda device=None: _memory.peak,
    "get_device_capability": lambda device=None: (9, 0),
    "set_device": lambda device: None,
    "get_device_properties": lambda device=None: SimpleNamespace(uuid=f"fake-{os.getpid()}"),
    "get_device_name": lambda device=None: "fake",
    "is_bf16_supported": lambda including_emulation=True: True,
    "manual_seed": lambda seed: None,
    "manual_seed_all": lambda seed: None,
    "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
    "set_rng_state": lambda state, device="cuda": None,
}
