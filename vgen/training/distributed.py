"""What the processes of one training run do together.

Gradients are averaged in one all-reduce of one flat buffer after the backward pass, and not by
``DistributedDataParallel``: a GAN step runs each critic forwards several times between two
backward passes, and differentiates twice for its penalty, which the reducer's hooks do not take;
and as every process then looks at the same averaged numbers, they agree on every guard for free.
The price is that nothing overlaps with the backward pass: 10 MB for the largest network here.

Works on the default process group, which whoever starts the processes makes; with GPUs as
``cpu:gloo,cuda:nccl``, so that what is agreed on about time and storage never waits for a GPU.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed

from vgen.errors import VgenError


class ElsewhereError(VgenError):
    """Another process of the group failed, and says why itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """This process's place among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} is not one of {self.size}")

    @classmethod
    def current(cls) -> Self:
        """Return the place in torch's default process group, or alone where there is none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(rank=distributed.get_rank(), size=distributed.get_world_size())

    def lanes(self, count: int) -> range:
        """Return which of ``count`` samples of every step are this process's, ``[start, stop)``.

        Raises:
            ValueError: there are fewer samples than processes.
        """
        if count < self.size:
            raise ValueError(f"{count} samples a step cannot be shared by {self.size} workers")
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def average_gradients(self, parameters: Iterable[Tensor], *, share: float) -> None:
        """Replace gradients of means over own samples by that of the mean over all samples.

        Args:
            parameters: Of one network, in the same order everywhere; all have gradients.
            share: Own samples divided by all samples; these add up to 1 over the group.
        """
        if self.size == 1:
            return
        gradients = [value.grad for value in parameters if value.grad is not None]
        # Reshaped both ways, as gradients may lie in memory channels last.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients]) * share
        distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.reshape(gradient.shape))

    def average(self, value: Tensor, *, share: float) -> Tensor:
        """Return the mean over all samples of a scalar that is the mean over own samples."""
        if self.size == 1:
            return value
        total = value.detach() * share
        distributed.all_reduce(total)
        return total

    def told(self, values: list[float]) -> list[float]:
        """Return the first process's ``values``; the others' count only by their number."""
        if self.size == 1:
            return values
        message = torch.tensor(values, dtype=torch.float64)
        distributed.broadcast(message, src=0)
        return [float(value) for value in message]

    def told_bytes(self, content: bytes) -> bytes:
        """Return the first process's ``content``."""
        if self.size == 1:
            return content
        (length,) = self.told([float(len(content))])
        if not length:
            return b""
        own = content if self.rank == 0 else bytes(int(length))
        message = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        distributed.broadcast(message, src=0)
        return message.numpy().tobytes()

    def by_first(self, work: Callable[[], bytes]) -> bytes:
        """Let the first process alone do ``work``; return what it returned to all.

        Raises:
            VgenError: it failed in the first process.
            ElsewhereError: the same, in the others, with the same sentence.
        """
        content, fault = b"", None
        if self.rank == 0:
            try:
                content = work()
            except VgenError as error:
                fault = error
        told_fault = self.told_bytes(str(fault).encode() if fault else b"")
        if fault is not None:
            raise fault
        if told_fault:
            raise ElsewhereError(told_fault.decode())
        return self.told_bytes(content)
