"""Contestants in turn, and before that each peer's sweep over its settings."""

from collections.abc import Callable, Sequence
from http.client import HTTPException

from botocore.exceptions import BotoCoreError, ClientError

from bench.contest import SHIPPED, Ground
from bench.failure import RunError
from bench.peers import PEERS, Setting
from bench.samples import Sample, is_large

Run = Callable[[str, Setting], Sample]


def compete(ground: Ground, workload: str, runs: int, who: Sequence[str], chosen: dict[str, Setting], run: Run) -> None:
    """A B C, A B C, …: what disturbs the machine for a while disturbs all of them."""
    for number in range(1, runs + 1):
        for name in who:
            sample = attempt(workload, name, chosen.get(name, SHIPPED), run)
            ground.record.samples.append(sample)
            ground.progress.line(f"{workload} run {number}/{runs}  {told(sample)}")


def attempt(workload: str, who: str, setting: Setting, run: Run) -> Sample:
    """One run; one that fails has its error instead of figures."""
    try:
        return run(who, setting)
    except (RunError, OSError, HTTPException, BotoCoreError, ClientError) as error:
        return Sample(workload, who, setting.label, 0, 0, 0.0, 0.0, 0, 0, error=f"{error}" or repr(error))


def sweep(ground: Ground, workload: str, size: int, run: Run, *, far: bool = False) -> dict[str, Setting]:
    """Peer → the setting that was fastest, or the one in the middle where nothing is tried."""
    chosen: dict[str, Setting] = {}
    for name in ground.options.peers:
        settings = PEERS[name].settings(size, far=far)
        chosen[name] = settings[len(settings) // 2]
        if ground.options.scale.sweep:
            tried = {setting: attempt(workload, name, setting, run) for setting in settings}
            worked = {setting: each.seconds for setting, each in tried.items() if not each.error}
            chosen[name] = min(worked, key=worked.__getitem__, default=chosen[name])
            told_seconds = {setting.label: round(seconds, 3) for setting, seconds in worked.items()}
            ground.record.sweeps.setdefault(workload, {})[name] = told_seconds
            tale = ", ".join(f"{label}: {seconds:.2f} s" for label, seconds in told_seconds.items())
            ground.progress.line(f"{workload} sweep  {name}: {tale}")
    return chosen


def told(sample: Sample) -> str:
    """One run in one line."""
    if sample.error:
        return f"{sample.who}: FAILED, not counted: {sample.error}"
    large = is_large(sample)
    rate = f"{sample.mb_per_s:,.0f} MB/s" if large else f"{sample.files_per_s:,.0f} files/s"
    flow = f", {sample.flow:,.0f} without start-up" if sample.flow and not large else ""
    cost = f"CPU {sample.cpu_per_file:.2f} ms a file, memory {sample.pss / 1e6:.0f} MB"
    return f"{sample.who}: {sample.files:,} files in {sample.seconds:.2f} s, {rate}{flow}; {cost}"
