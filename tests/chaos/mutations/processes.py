"""Processes: signals, parents, locks, blame, the start, and the embedded server."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "no-death-with-the-parent": Mutant(
        "pipeline/kernel.py",
        "    return _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0\n",
        "    return _libc is not None\n",
        ("integration/test_processes.py::test_parent_is_killed",),
    ),
    "parent-that-was-gone-before": Mutant(
        "pipeline/parent.py",
        "    if os.getppid() != parent.pid:  # it ended before the kernel was asked\n",
        "    if not parent:\n",
        ("unit/test_parent.py::test_a_parent_that_ended_before_is_noticed",),
    ),
    "parents-sentinel-not-watched": Mutant(
        "pipeline/parent.py",
        "        _watch.begin(number, parent)\n",
        "",
        ("unit/test_parent.py::test_without_the_signal_the_sentinel_is_watched",),
    ),
    "a-broken-lease-ends-the-process": Mutant(
        "pipeline/kernel.py",
        "    signal.signal(signal.SIGIO, signal.SIG_IGN)\n",
        "",
        ("unit/test_parent.py::test_a_broken_lease_ends_no_process",),
    ),
    "no-sigterm": Mutant(
        "pipeline/process.py",
        "        signal.signal(signal.SIGTERM, self._on_signal)\n",
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
        ("integration/test_queue_faults.py::test_a_stop_cuts_a_long_poll",),
    ),
    "long-polls-are-not-cut": Mutant(
        "pipeline/process.py",
        "        if self._armed:\n            self._armed = False\n            raise StopRequested\n",
        "",
        ("integration/test_queue_faults.py::test_a_stop_cuts_a_long_poll",),
    ),
    "stops-anywhere": Mutant(
        "pipeline/process.py",
        "        if self._armed:\n            self._armed = False\n            raise StopRequested\n",
        "        raise StopRequested\n",
        ("unit/test_process.py::test_a_signal_cuts_nothing_but_a_wait",),
    ),
    "a-stop-before-a-wait-is-not-seen": Mutant(
        "pipeline/process.py",
        "            if self.requested:\n                raise StopRequested\n",
        "",
        ("unit/test_process.py::test_a_wait_after_the_signal_does_not_begin",),
    ),
    "a-stop-is-an-error": Mutant(
        "pipeline/process.py",
        "class StopRequested(BaseException):",
        "class StopRequested(Exception):",
        ("unit/test_process.py::test_no_handler_of_errors_takes_a_stop",),
    ),
    "few-descriptors-stay-few": Mutant(
        "pipeline/process.py",
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))\n",
        "        pass\n",
        ("unit/test_durability.py::test_the_limit_of_open_files_is_raised",),
    ),
    "no-lock-of-a-side": Mutant(
        "pipeline/locks.py",
        "        while not try_lock(fd):\n",
        "        while not fd:\n",
        ("unit/test_locks.py::test_a_side_has_one_program",),
    ),
    "orphans-are-not-waited-for": Mutant(
        "pipeline/locks.py",
        "            if _is_alive(holder) or time.monotonic() >= deadline:\n",
        "            if holder or time.monotonic() > 0:\n",
        ("unit/test_locks.py::test_those_who_are_about_to_end_are_waited_for",),
    ),
    "one-crash-blames-all": Mutant(
        "pipeline/blame.py",
        "        if len(in_hand) == 1:\n            self._alone.update(in_hand)\n",
        "        self._alone.update(in_hand)\n",
        ("unit/test_blame.py::test_a_death_in_company_convicts_nobody",),
    ),
    "nobody-is-condemned": Mutant(
        "pipeline/blame.py",
        "work for work, deaths in self._alone.items() if deaths >= DEATHS))\n",
        "work for work, deaths in self._alone.items() if deaths > DEATHS * 1000))\n",
        ("unit/test_blame.py::test_three_deaths_alone_condemn",),
    ),
    "dead-children-stay-dead": Mutant(
        "pipeline/supervisor.py",
        "        running.restart_at = time.monotonic() + wait\n",
        "        running.restart_at = None\n",
        ("integration/test_supervisor.py::test_a_child_that_dies_is_started_again",),
    ),
    "restarts-without-a-pause": Mutant(
        "pipeline/supervisor.py",
        "        wait = 0.0 if running.failures <= 1 else pacing.delay(running.failures - 2, _RESTART_BASE, _RESTART_CAP)\n",
        "        wait = 0.0\n",
        ("unit/test_supervisor.py::test_who_crashes_again_and_again_comes_back_later_and_later",),
    ),
    "a-spoiled-queue-is-shared-on": Mutant(
        "pipeline/supervisor.py",
        "        if running.side.share is not None:\n            self._drain(running)\n",
        "",
        ("unit/test_supervisor.py::test_a_queue_that_a_death_may_have_spoiled_is_left",),
    ),
    "who-cannot-start-is-started-again": Mutant(
        "pipeline/supervisor.py",
        "        if code in self._start_failures:\n            self._code = code\n        elif",
        "        if",
        ("integration/test_supervisor.py::test_a_child_that_cannot_start_ends_the_program",),
    ),
    "folders-within-folders": Mutant(
        "pipeline/start.py",
        "            if one != other and inner.is_relative_to(outer):\n",
        "            if one is None and inner.is_relative_to(outer):\n",
        (
            "unit/test_start.py::test_folders_of_another_mode_count",
            "integration/test_main.py::test_impossible_folders",
        ),
    ),
    "two-file-systems-are-found-out-later": Mutant(
        "pipeline/start.py",
        "                if error.errno != errno.EXDEV or not copies:\n",
        "                if error.errno != errno.EXDEV:\n",
        ("unit/test_start.py::test_file_systems_are_crossed_only_where_that_was_asked_for",),
    ),
    "unwritable-folders-are-found-out-later": Mutant(
        "pipeline/start.py",
        "    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):\n",
        "    if not folder:\n",
        ("integration/test_main.py::test_folder_without_permission",),
    ),
    "a-full-log-raises": Mutant(
        "app_logger.py",
        "    logging.raiseExceptions = False\n",
        "    logging.raiseExceptions = True\n",
        ("integration/test_room.py::test_d02_no_room_for_the_log",),
    ),
    "a-stranger-on-the-port": Mutant(
        "pipeline/local_aws.py",
        "        if not hmac.compare_digest(body, self.proof(answer.status, nonce)):\n",
        "        if not body:\n",
        ("integration/test_local_aws.py::test_a_stranger_on_the_port_is_not_trusted",),
    ),
    "two-embedded-servers": Mutant(
        "pipeline/local_aws.py",
        "            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        except",
        "            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)\n        except",
        ("integration/test_local_aws.py::test_the_next_takes_over",),
    ),
    "web-pages-are-served": Mutant(
        "pipeline/local_server.py",
        '    return changes or not ours or any(name == b"origin" for name, _ in headers)\n',
        '    return changes and not ours and any(name == b"origin" for name, _ in headers)\n',
        ("integration/test_local_aws.py::test_web_pages_and_the_wipe_are_refused",),
    ),
    "queues-of-long-ago": Mutant(
        "pipeline/local_server.py",
        "        self.marker.unlink(missing_ok=True)\n",
        "",
        ("integration/test_local_aws.py::test_a_kill_keeps_objects_and_forgets_queues_before_anyone_sees_them",),
    ),
    "half-an-object-stays": Mutant(
        "pipeline/local_server.py",
        '            if not (name.endswith(".meta.json") or f"{name}.meta.json" in present):\n',
        "            if not present:\n",
        ("integration/test_local_aws.py::test_a_kill_within_a_put_leaves_no_object",),
    ),
    "acknowledged-though-it-was-not-written": Mutant(
        "pipeline/local_ministack.py",
        '        if record["body"] is not None:  # it lets go of the body once that is on disk\n',
        "        if record is None:\n",
        ("integration/test_local_aws.py::test_what_cannot_be_written_is_not_acknowledged",),
    ),
    "embedded-objects-not-durable": Mutant(
        "pipeline/local_ministack.py",
        "            os.fsync(descriptor)  # before the name is given",
        "            os.fstat(descriptor)  # before the name is given",
        ("integration/test_local_aws.py::test_no_name_is_given_before_its_bytes_are_on_disk",),
    ),
}
