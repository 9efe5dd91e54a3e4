"""What is measured of a soak test is what its plots draw, and what it leaves is told."""

from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from pipeline.ports import Depth
from pipeline.soak.content import File
from pipeline.soak.judge import Judge
from pipeline.soak.observer import Observer
from pipeline.soak.plots import plots
from tests.fakes import FakeQueue, FakeStore
from tests.soak import run_at, settings_at, until


class Scene:
    """A judge and its observer over folders of their own, with a queue whose depth is said."""

    def __init__(self, root: Path, **asked: Any) -> None:
        settings = replace(settings_at(root), aws_access_key_id="AKIACANARY", aws_secret_key="secret-canary")
        run, self.settings = run_at(root, settings, **asked)
        self.judge_end, self.feeder = Pipe()
        self.judge = Judge(run, self.settings, FakeStore(), self.judge_end)
        self.depth = Depth(0, 0, 0, 0)
        queue = FakeQueue()
        queue.depth = lambda: self.depth  # type: ignore[method-assign]
        self.observer = Observer(run, self.settings, self.judge, queue)

    def sample(self, answers: int = 1) -> None:
        """Until so many answers of the queue came."""
        before = self.observer.gauge.empty
        until(lambda: self.observer.gauge.empty >= before + answers, self.observer.sample)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.judge.close()
    made.observer.gauge.close()


def test_every_plot_finds_its_columns(scene: Scene) -> None:
    """The names that the observer gives to what it measures are those that the plots ask for."""
    scene.judge.latencies.add(0.5)
    scene.judge.step()
    scene.sample(2)
    report = scene.observer.report("duration")
    for plot in plots(report):
        lines = [trace for trace in plot.data if trace["type"] == "scatter" and trace["mode"] != "lines+text"]
        if plot.id == "histogram":
            continue
        assert lines, plot.id
        for line in lines:
            assert any(value is not None for value in line["y"]), f"{plot.id}: {line['name']}"


def test_no_secret_is_reported(scene: Scene) -> None:
    """The configuration in force, under the names of the properties file, but for its secrets."""
    report = scene.observer.report("duration")
    assert report.configuration["folderToWatch"] == "Watch"
    assert "aws_secret_key" not in report.configuration
    assert "canary" not in repr(report).lower()


@pytest.mark.parametrize(
    ("last", "found"),
    [
        (Depth(3, 2, 0, 0), ("the queue", "3 messages wait in it, 2 are in flight")),
        (Depth(0, 0, 0, 7), ("the dead letters", "7 messages went there")),
    ],
)
def test_what_is_left_of_messages_is_a_violation(scene: Scene, last: Depth, found: tuple[str, str]) -> None:
    """In the queue, or among the dead letters since the run began."""
    scene.sample()
    scene.depth = last
    until(lambda: scene.observer.gauge.depth == last, scene.observer.sample)
    scene.observer.close_accounts()
    assert [(broken.kind, broken.name, broken.text) for broken in scene.judge.accounts.violations] == [("left", *found)]


def test_nothing_is_left_of_a_good_run(scene: Scene) -> None:
    """Empty folders, an empty queue, no more dead letters than before."""
    scene.depth = Depth(0, 0, 0, 5)
    scene.sample(2)
    scene.observer.close_accounts()
    assert scene.judge.accounts.violations == []


def test_in_place_the_queue_is_shared(tmp_path: Path) -> None:
    """Its messages may be anybody's."""
    scene = Scene(tmp_path, in_place=True)
    scene.depth = Depth(9, 0, 0, 0)
    until(lambda: scene.observer.gauge.depth is not None, scene.observer.sample)
    scene.observer.close_accounts()
    assert scene.judge.accounts.violations == []
    scene.judge.close()
    scene.observer.gauge.close()


def test_what_is_under_way_is_named(scene: Scene) -> None:
    """Of a run that was stopped at once."""
    scene.feeder.send(("generated", File(1, 1)))
    scene.judge.step()
    report = scene.observer.report("a stop at once")
    assert (report.passed, report.unsettled) == (False, [File(1, 1).name])
