"""Runs of several processes of `train_main.py`, with tiny data, on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.places import ROOT

SMALL = {
    "data.synthetic.users": 48,
    "data.synthetic.items": 40,
    "data.synthetic.mean_events": 12,
    "data.buckets": 8,
    "model.dropout": 0.1,
    "model.hidden_dims": "()",
    "optimizer.learning_rate": 0.001,
    "train.batch_size": 48,
    "train.log_every": 4,
    "train.patience": 0,
    "evaluation.ks": "(1,10)",
    "evaluation.batch_size": 64,
    "evaluation.baselines": "false",
    "export.top_k": 10,
    "export.enabled": "false",
}


class Group:
    """The processes of one run; `said` has what each printed so far, both streams together."""

    def __init__(
        self,
        workdir: Path,
        count: int,
        *,
        devices: int = 1,
        slurm: bool = False,
        leave_out: str = "",
        of_second: dict[str, object] | None = None,
        **fields: object,
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
        flags = [f"--config.{name}={value}" for name, value in settings.items()]
        xla = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-W", "ignore", ROOT / "train_main.py", *flags]
        command += ["--config=quickstart:smoke", f"--workdir={workdir}"]
        self._workdir, self._files = workdir, []
        self.processes = []
        for number in range(count):
            where = [
                f"--distributed_coordinator=127.0.0.1:{port}",
                f"--distributed_processes={count}",
                f"--distributed_process={number}",
            ]
            own = dict(environment)
            if slurm:
                where = ["--distributed"]
                own |= {
                    "SLURM_JOB_ID": str(port),
                    "SLURM_STEP_NODELIST": "localhost",
                    "SLURM_NTASKS": str(count),
                    "SLURM_PROCID": str(number),
                    "SLURM_LOCALID": str(number),
                    "SLURM_STEP_NUM_NODES": "1",
                }
                own.pop(leave_out, None)
            if number == 1:
                where += [f"--config.{name}={value}" for name, value in (of_second or {}).items()]
            self._files.append(workdir.with_name(f"{workdir.name}.{port}.{number}"))
            with open(self._files[-1], "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [*map(str, command), *(where if count > 1 or slurm else [])],
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env=own,
                    )
                )

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()  # its child ends with it
            process.wait()

    @property
    def said(self) -> list[str]:
        return [file.read_text(errors="replace") for file in self._files]

    def wait_for(self, pattern: str, process: int = 0, seconds: float = 300) -> None:
        """Waits until a process has printed a line that begins so."""
        end = time.monotonic() + seconds
        while not re.search(f"^{pattern}", self.said[process], re.MULTILINE):
            assert self.processes[process].poll() is None, self.said[process]
            assert time.monotonic() < end, self.said[process]
            time.sleep(0.05)

    def wait_for_rows(self, rows: int, seconds: float = 300) -> None:
        """Waits until metrics.jsonl has so many."""
        end, file = time.monotonic() + seconds, self._workdir / "metrics.jsonl"
        while not (file.exists() and file.read_bytes().count(b"\n") >= rows):
            assert self.processes[0].poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)

    def send(self, number: int, process: int) -> None:
        self.processes[process].send_signal(number)

    def kill_child(self, process: int) -> None:
        """Kills the process that trains, as a machine's memory killer would."""
        parent = self.processes[process].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    def statuses(self, seconds: float = 300) -> list[int]:
        """Waits for all; their exit statuses."""
        end = time.monotonic() + seconds
        return [p.wait(max(0.1, end - time.monotonic())) for p in self.processes]

    def last_lines(self) -> list[str]:
        return [said.rstrip("\n").rpartition("\n")[2] for said in self.said]
