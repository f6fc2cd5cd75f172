"""The kernel of a headless notebook: this Python, whatever kernel specs the user has installed."""

import os
import sys
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import Dict, Unicode, default

TEXT_BARS = "import tqdm, tqdm.auto; tqdm.auto.tqdm = tqdm.tqdm"  # instead of widgets


class OwnSpecs(KernelSpecManager):
    """Looks into no folder, which leaves one kernel: ipykernel's own description of this Python."""

    @default("kernel_dirs")
    def _none(self) -> list[str]:
        return []


class StudyKernel(AsyncKernelManager):
    """Starts the interpreter that runs the study; what its process prints goes into a file."""

    log_file = Unicode(os.devnull, config=True, help="the file, which is added to")
    environment = Dict(config=True, help="variables beside those of this process")

    @default("kernel_spec_manager")
    def _own(self) -> KernelSpecManager:
        return OwnSpecs()

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command line; jupyter would fill in what stands between braces in a path."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file]
        return [*command, f"--IPKernelApp.exec_lines={TEXT_BARS}", *(extra_arguments or [])]

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # as it is there
        """Start the process with the signs of a headless run in its environment."""
        headless = {"BIRDNB_HEADLESS": "1", "TQDM_MININTERVAL": "1"}
        with open(self.log_file, "ab") as log:
            await super().start_kernel(
                env=os.environ | headless | self.environment, stdout=log, stderr=log, **options
            )
