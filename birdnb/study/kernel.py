"""The kernel of a headless notebook: this Python, whatever kernel specs the user has installed.

On Linux kernels are forked from a process that has imported what all notebooks need.
"""

import multiprocessing
import os
import sys
import threading
from importlib.metadata import entry_points
from typing import Any
from unittest import mock

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Dict, Unicode, default

IMPORTED = ["ipykernel.kernelapp", "birdnb.study.chapter", "birdnb.models.ast", "timm", "seaborn",
            "sklearn.pipeline", "sklearn.linear_model"]  # fmt: skip
FORKS = sys.platform == "linux"  # elsewhere forks of a process with torch in it are not safe

INLINE = "module://matplotlib_inline.backend_inline"  # as ipykernel sets it, but before all imports
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
        headless = {"BIRDNB_HEADLESS": "1", "TQDM_MININTERVAL": "1", "MPLBACKEND": INLINE}
        if FORKS:
            self.provisioner = Forks(parent=self, kernel_spec=self.kernel_spec)
        with open(self.log_file, "ab") as log:
            await super().start_kernel(
                env=os.environ | headless | self.environment, stdout=log, stderr=log, **options
            )


def forking() -> dict[str, str]:
    """Return the variables that make kernels of others fork, too; none where they cannot."""
    name = "birdnb-forks"  # in pyproject.toml; not known where birdnb was installed before it was
    known = FORKS and entry_points(group="jupyter_client.kernel_provisioners", name=name)
    return {"JUPYTER_DEFAULT_PROVISIONER_NAME": name, "MPLBACKEND": INLINE} if known else {}


class Forks(LocalProvisioner):
    """Starts a kernel by forking, with its imports done: five seconds less for each notebook."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork; ``cmd`` is that of a kernel which is started as a program."""
        self.cwd = options.get("cwd", os.getcwd())
        environment = options["env"] | {"JPY_PARENT_PID": str(os.getpid())}  # as jupyter sets it
        self.process = Fork(target=_be_kernel, daemon=True, args=(  # type: ignore[assignment]
            cmd[3:], environment, self.cwd, options["stderr"].name
        ))  # fmt: skip
        # tqdm reads its variables when imported; what a kernel leaves behind is no user's business
        about_leaks = {"PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker"}
        with mock.patch.dict(os.environ, environment | about_leaks, clear=True):
            self.process.start()
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class Fork(multiprocessing.get_context("forkserver").Process):  # type: ignore[name-defined, misc]
    """A process that jupyter can handle as one of ``subprocess``."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.exitcode

    def wait(self) -> int | None:
        """Wait for its end; return the exit status."""
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def _be_kernel(words: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    """Become a kernel: a session, an environment, a folder and a log of its own."""
    import pandas
    from ipykernel.kernelapp import IPKernelApp

    pandas.options.display.max_columns = 20  # as in notebooks; it was imported outside of one
    multiprocessing.current_process().daemon = False  # its own workers are welcome
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    IPKernelApp.launch_instance(words)


def _end_with_the_study() -> None:
    """End this process when that of the study is gone, killed maybe: nobody else would end it."""
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os._exit(1)


multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED)
