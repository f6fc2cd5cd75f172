"""What depends on the machine: processes, devices, precision, memory. Built on accelerate."""

from __future__ import annotations

import contextlib
import gc
import re
import resource
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor, nn

from birdnb.config import RunSettings
from birdnb.data import Clips
from birdnb.evaluation.predictions import Predictions, concatenate, predict
from birdnb.files import BirdnbError

WAIT = timedelta(hours=12)  # how long a process waits for another that builds the cache


def make_accelerator() -> Accelerator:
    """Let accelerate find CPU, GPU or what ``accelerate launch`` began; ``autocast`` has bf16."""
    return Accelerator(mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT)])


def leave(accelerator: Accelerator) -> None:
    """Shut down the process group, with nothing left that keeps gloo's threads alive at the exit.

    Every process calls it, last. One run was seen to abort (``terminate called``) after its last
    line, the group still held; this is the likely cure.
    """
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    gc.collect()
    accelerator.end_training()


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return bf16 autocast where ``precision`` asks for it.

    "bf16" does anywhere, "auto" on a GPU that has it, "hardware" on a CPU that has it, too: there
    transformers gain, convolutions by depth do not.
    """
    has_it = precision in ("auto", "hardware") and device.type == "cuda" and _gpu_has_bf16()
    has_it = has_it or (precision == "hardware" and device.type == "cpu" and _cpu_has_bf16())
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or has_it)


def _gpu_has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 itself (AVX-512 BF16, AMX and the like)."""
    return any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)


def on_device(lms: Tensor, device: torch.device) -> Tensor:
    """Move spectrograms to the device when they take less than half of its free memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier training has left is free, too
        if lms.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
            return lms
    return lms.to(device)


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Take batch statistics over all processes, by timm: torch's drops its layers' activations."""
    # takes a second to import: only several GPUs need it
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


@contextlib.contextmanager
def enough_memory(settings: RunSettings) -> Iterator[None]:
    """Raise BirdnbError with the remedy when a GPU's memory runs out inside."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BirdnbError(
            f"out of GPU memory with batches of {settings.train.batch_size} clips: lower "
            f"batch_size and raise "
            "accumulation by the same factor"
        ) from error


def forget_peak_memory(device: torch.device) -> None:
    """Begin to count ``peak_memory_mb`` of a GPU anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory taken so far [MB]: by tensors on a GPU, else by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    # Linux; its ru_maxrss begins with the peak of the process that started this one
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))[1]) / 1e3  # type: ignore[index]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac, kB elsewhere
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def predict_shared(
    model: nn.Module, clips: Clips, settings: RunSettings, accelerator: Accelerator
) -> Predictions:
    """Predict all recordings, shared out. Raises BirdnbError for one predicted twice or not."""
    world, rank = accelerator.num_processes, accelerator.process_index
    mine = (
        clips if world == 1 else clips.of_recordings(range(rank, len(clips.recording_ids), world))
    )
    parts = []
    if mine.recording_ids:
        batch = max(64, (4 if accelerator.device.type == "cuda" else 2) * settings.train.batch_size)
        with enough_memory(settings), autocast(accelerator.device, settings.train.precision):
            parts = [predict(model, mine, settings.model.normalisation, batch, accelerator.device)]
    return parts[0] if world == 1 else concatenate(gather_object(parts)).align(clips.recording_ids)


class Interrupt:
    """Within it a first Ctrl-C is only noted, where wanted, so that a batch is finished."""

    noted = False

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted

    def __enter__(self) -> Interrupt:
        if self.wanted:
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self.wanted:
            signal.signal(signal.SIGINT, self.before)

    def _note(self, *_: object) -> None:
        self.noted = True
        signal.signal(signal.SIGINT, self.before)


def seed_of(*numbers: int) -> int:
    """Return one seed for a generator of torch, from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
