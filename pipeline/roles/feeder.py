"""The feeder of a soak test."""

from pipeline.link import Link
from pipeline.process import Context, Stop
from pipeline.roles.clients import connect_to_judge
from pipeline.soak.feeder import Feeder
from pipeline.soak.run import Run


def run(context: Context, link: Link, stop: Stop, soak: Run) -> None:
    """Drop files until a limit or SIGTERM, and feed back what is settled until the judge is done."""
    store, _ = connect_to_judge(context, stop, soak.options.deadline)
    Feeder(soak, context.settings, store, link.shared[1]).feed(stop)
