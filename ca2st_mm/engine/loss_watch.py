# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whether a loss is finite in all processes, without halting the device."""

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from torch import Tensor


class LossWatch:
    """Tells whether the loss of any process is not finite.

    The processes agree by a reduction of one number, so that all of them
    skip, count and stop alike.  On a GPU the answer travels to the host on
    a stream of its own from the end of the forward pass on: who asks before
    the step of the optimizer waits for the forward pass only, while the
    device is busy with the backward pass that is queued behind it.
    """

    def __init__(self) -> None:
        self._answer: bool | None = None
        self._flag: Tensor | None = None
        self._work: dist.Work | None = None
        self._stream: torch.cuda.Stream | None = None

    def look_at(self, loss: Tensor) -> None:
        """Begin to find out.

        Args:
            loss: One number, on any device; processes must call alike.
        """
        # int32: gloo and NCCL both reduce it.
        self._flag = (~loss.detach().isfinite()).reshape(1).int()
        self._answer = self._work = None
        if self._flag.is_cuda:
            self._send()
        else:
            self._reduce()

    def found(self) -> bool:
        """Whether the last loss looked at is not finite in any process."""
        if self._answer is None:
            if self._stream is not None:
                self._stream.synchronize()
            elif self._work is not None:
                self._work.wait()
            self._answer = bool(self._flag)
        return self._answer

    def _reduce(self) -> None:
        if get_world_size() > 1:
            self._work = dist.all_reduce(
                self._flag, op=dist.ReduceOp.MAX, async_op=True
            )

    def _send(self) -> None:
        """Reduce and copy beside the stream that computes."""
        flag = self._flag
        if self._stream is None:
            self._stream = torch.cuda.Stream(flag.device)
        self._stream.wait_stream(torch.cuda.current_stream(flag.device))
        flag.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            self._reduce()
            if self._work is not None:
                self._work.wait()  # the stream waits, not the host
            on_host = torch.empty(1, dtype=flag.dtype, pin_memory=True)
            self._flag = on_host.copy_(flag, non_blocking=True)
