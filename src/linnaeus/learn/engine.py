"""The only file that knows the hardware layer (Accelerate): device, precision, backward."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from linnaeus import malloc
from linnaeus.learn.objectives import Batch, Objective, Outcome
from linnaeus.learn.pieces import Pieces
from linnaeus.machine import cores_here, memory_gb, processor_name


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Attributes:
        device: "cuda", "mps" or "cpu".
        name: As the maker calls it.
        cores: Processor cores that this process may use.
        memory_gb: Main memory.
        bf16: The device computes in bfloat16 natively.
    """

    device: str
    name: str
    cores: int
    memory_gb: float
    bf16: bool

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine."""
        cores = cores_here()
        memory = memory_gb()
        if torch.cuda.is_available():
            return cls("cuda", torch.cuda.get_device_name(), cores, memory, torch.cuda.is_bf16_supported())
        if torch.backends.mps.is_available():
            return cls("mps", "Apple GPU", cores, memory, False)
        return cls("cpu", processor_name(), cores, memory, _cpu_has_bf16())


class Engine:
    """Run networks on this machine.

    Args:
        precision: "fp32" or "bf16".
        seed: Start of every random number drawn by the network (dropout).
    """

    def __init__(self, precision: str = "fp32", seed: int = 0) -> None:
        if not torch.cuda.is_available():
            malloc.share_freed_memory()
            malloc.keep_freed_memory()
        # cuDNN would round the factors of float32 convolutions to 10 bits: answers that differ in the third digit.
        torch.backends.cudnn.allow_tf32 = False
        # Where there is nothing to choose, answering does not wait a quarter of a second for Accelerate.
        self.device: torch.device = (
            self._accelerator.device if torch.accelerator.is_available() else torch.device("cpu")
        )
        self.precision, self._seed = precision, seed
        self.cores = cores_here()
        self._sharing: Pieces | None = None

    @functools.cached_property
    def _accelerator(self) -> Any:
        from accelerate import Accelerator

        # It holds one precision per process; ours is chosen per engine, so autocast is our own.
        return Accelerator()

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, in channels-last memory."""
        return network.to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the engine's precision inside the block."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring a tensor to the device, without waiting until it is there."""
        pins = self.device.type == "cuda" and tensor.device.type == "cpu"
        return (tensor.pin_memory() if pins else tensor).to(self.device, non_blocking=True)

    def free_bytes(self) -> int:
        """Count the free bytes of the device's own memory; 0 where it has none of its own."""
        return torch.cuda.mem_get_info()[0] if self.device.type == "cuda" else 0

    def wait(self) -> None:
        """Wait until the device has done everything that it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def gradient(self, network: nn.Module, objective: Objective, batch: Batch) -> Outcome:
        """Compute the loss of a batch, and its gradient into the parameters' `grad`."""
        if self._sharing is not None:
            return self._sharing(objective, batch, self.autocast)
        with self.autocast():
            outcome = objective(network, batch)
        self._accelerator.backward(outcome.loss)
        return replace(outcome, loss=outcome.loss.detach())

    @contextmanager
    def sharing(self, network: nn.Module, count: int) -> Iterator[None]:
        """Compute the gradients of a network in so many pieces inside the block; each thread then computes alone."""
        if self.device.type != "cpu":
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        self._sharing = Pieces(network, count) if count > 1 else None
        try:
            yield
        finally:
            if self._sharing is not None:
                self._sharing.close()
                self._sharing = None
            torch.set_num_threads(before)

    def reseed(self, step: int) -> None:
        """Make the randomness of a step depend on the seed and its number only, so that a resumed run is equal."""
        torch.manual_seed(self._seed * 1_000_003 + step)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block: many small steps cost more in waiting than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy's linear algebra compute with one thread inside the block.

    Its threads spin while they wait for each other. Beside another busy program, a second of an audit's many small
    matrices took half a minute; alone, a second thread brings little.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _cpu_has_bf16() -> bool:
    cpu = torch.cpu
    return any(getattr(cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
