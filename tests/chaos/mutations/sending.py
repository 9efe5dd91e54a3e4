"""QueuedForUpload → S3 → SQS → UploadedToS3: what is stored, under which key, and announced when."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "any-object-is-ours": Mutant(
        "pipeline/storing.py",
        "if found is None or found.metadata.get(DROP_ID) != drop.id:",
        "if found is None:",
        ("unit/test_uploader.py::test_another_drop_takes_the_next_version",),
    ),
    "own-earlier-try-is-anothers": Mutant(
        "pipeline/storing.py",
        "if found is None or found.metadata.get(DROP_ID) != drop.id:",
        "if found is None or found:",
        (
            "unit/test_uploader.py::test_an_earlier_try_is_recognised",
            "unit/test_uploader.py::test_a_restart_after_the_put_recognises_it",
        ),
    ),
    "half-an-object-is-whole": Mutant(
        "pipeline/storing.py",
        "        if found.size == drop.fingerprint.size:\n",
        "        if found.size >= 0:\n",
        ("unit/test_uploader.py::test_a_partial_object_of_ours_is_replaced",),
    ),
    "changed-in-a-thread-is-announced": Mutant(
        "pipeline/storing.py",
        "            if queued.fingerprint() == placed.drop.fingerprint:\n",
        "            if placed:\n",
        ("unit/test_uploader.py::test_a_file_that_changes_during_its_upload",),
    ),
    "told-of-by-an-earlier-try-is-replaced": Mutant(
        "pipeline/storing.py",
        "        if placed.may_be_told:\n",
        "        if not placed:\n",
        ("unit/test_storing.py::test_what_an_earlier_try_may_have_told_of_is_never_replaced",),
    ),
    "changed-again-is-announced": Mutant(
        "pipeline/storing.py",
        "        if queued.fingerprint() != placed.drop.fingerprint:\n",
        "        if not placed:\n",
        ("unit/test_storing.py::test_a_file_that_never_rests_is_tried_with_pauses",),
    ),
    "written-again-is-stored": Mutant(
        "pipeline/storing.py",
        "        if self._is_being_written(queued.fd):\n",
        "        if not queued.fd:\n",
        ("unit/test_storing.py::test_a_writer_that_comes_during_the_upload_holds_no_thread",),
    ),
    "sets-aside-whatever-lies-there": Mutant(
        "pipeline/storing.py",
        "        if not self._spool.still_there(queued):\n",
        "        if not queued:\n",
        ("unit/test_uploader.py::test_another_file_of_the_same_name_is_never_set_aside",),
    ),
    "stale-of-another-file": Mutant(
        "pipeline/storing.py",
        "        return found.stored if found and found.inode == queued.fingerprint().inode else None\n",
        "        return found.stored if found else None\n",
        ("unit/test_storing.py::test_what_is_stale_is_not_replaced_by_another_file",),
    ),
    "told-of-is-replaced": Mutant(
        "pipeline/storing.py",
        "        self.forget(queued.path)  # it is told of now\n",
        "",
        ("unit/test_storing.py::test_what_replaced_the_stale_one_and_was_told_of_is_never_replaced",),
    ),
    "stale-key-is-anothers": Mutant(
        "pipeline/storing.py",
        "        self.forget(queued.path)  # another program has its key: there is nothing left to be replaced\n",
        "",
        ("unit/test_storing.py::test_what_is_stale_is_forgotten_once_another_object_has_its_key",),
    ),
    "stale-object-under-another-key": Mutant(
        "pipeline/storing.py",
        "        replaces = stale.etag if stale and stale.key == drop.key.text else None\n",
        "        replaces = stale.etag if stale else None\n",
        ("unit/test_storing.py::test_a_file_that_gets_a_key_that_is_taken",),
    ),
    "names-of-the-store-not-asked": Mutant(
        "pipeline/storing.py",
        "        self._spool.renumber(queued, self._taken(drop))\n",
        "        self._spool.renumber(queued, [])\n",
        ("unit/test_uploader.py::test_another_drop_takes_the_next_version",),
    ),
    "fail-means-version": Mutant(
        "pipeline/storing.py",
        "        if self._route.on_conflict == FAIL:\n",
        "        if not found:\n",
        ("unit/test_uploader.py::test_on_name_conflict_fail",),
    ),
    "changed-is-announced": Mutant(
        "pipeline/uploader.py",
        "            unchanged = queued.fingerprint() == drop.fingerprint\n",
        "            unchanged = bool(stored)\n",
        ("unit/test_uploader.py::test_a_file_that_changes_during_its_upload",),
    ),
    "written-is-sent": Mutant(
        "pipeline/uploader.py",
        "        if self._is_being_written(queued.fd):\n",
        "        if not queued.fd:\n",
        ("unit/test_uploader.py::test_a_file_that_is_being_written_waits",),
    ),
    "tries-without-a-pause": Mutant(
        "pipeline/uploader.py",
        "        again.seconds = pacing.delay(attempt := self._agenda.count(work.path, again.path))\n",
        "        attempt = self._agenda.count(work.path, again.path)\n",
        ("unit/test_uploader.py::test_a_file_is_tried_again_after_growing_pauses",),
    ),
    "pause-of-all-is-one-files": Mutant(
        "pipeline/uploader.py",
        "            self.gate.shut(error)\n            return again\n",
        "            return again\n",
        ("unit/test_uploader.py::test_a_pause_shuts_the_gate_for_all_and_loses_nothing",),
    ),
    "every-failure-is-for-ever": Mutant(
        "pipeline/uploader.py",
        "        if isinstance(error, NeverError) and work.queued:\n",
        "        if isinstance(error, RelayError) and work.queued:\n",
        ("unit/test_queue_faults.py::test_a_queue_that_does_not_take_it",),
    ),
    "errors-end-the-work": Mutant(
        "pipeline/uploader.py",
        "            self._end(work, again=again)\n\n    def _after",
        "            self._end(work)\n\n    def _after",
        ("unit/test_queue_faults.py::test_a_queue_that_does_not_take_it",),
    ),
    "full-failed-folder-ends-the-uploader": Mutant(
        "pipeline/uploader.py",
        "        except OSError as problem:  # Failed cannot be written\n",
        "        except ChildProcessError as problem:\n",
        ("unit/test_uploader.py::test_what_cannot_be_set_aside_is_tried_again",),
    ),
    "stop-cancels-nothing": Mutant(
        "pipeline/uploader.py",
        "            self._cancelled.set()\n            self._store.cancel()\n",
        "            self._store.cancel()\n",
        ("unit/test_uploader.py::test_a_stop_cancels_what_does_not_end_and_leaves_it_queued",),
    ),
    "cut-wait-keeps-files": Mutant(
        "pipeline/uploader.py",
        "                self._agenda.end(path, Again(path))\n",
        "                pass\n",
        ("unit/test_uploader.py::test_a_cut_wait_leaves_nothing_in_hand",),
    ),
    "move-before-send": Mutant(
        "pipeline/announcer.py",
        "        new = [each for each in sent if each.drop.id not in self._announced]\n",
        "        new = [each for each in sent if self._spool.finish(each.queued)]\n",
        ("unit/test_uploader.py::test_the_order_of_effects",),
    ),
    "announced-though-it-was-not-stored": Mutant(
        "pipeline/uploader.py",
        "            stored = future.result()\n",
        "            none = StoredObject(drop.key.text, drop.fingerprint.size, '')\n"
        "            stored = none if future.exception() else future.result()\n",
        (
            "unit/test_uploader.py::test_another_drop_takes_the_next_version",
            "unit/test_uploader.py::test_a_pause_shuts_the_gate_for_all_and_loses_nothing",
        ),
    ),
    "refused-messages-are-sent": Mutant(
        "pipeline/announcer.py",
        "        refused = {id(each): outcome for each, outcome in zip(new, outcomes, strict=True) if outcome is not None}\n",
        "        refused: dict[int, Exception] = {}\n",
        (
            "unit/test_queue_faults.py::test_three_of_ten_are_refused",
            "unit/test_uploader.py::test_only_what_was_refused_is_sent_again",
        ),
    ),
    "one-refusal-is-of-all": Mutant(
        "pipeline/announcer.py",
        "        refused = {id(each): outcome for each, outcome in zip(new, outcomes, strict=True) if outcome is not None}\n",
        "        bad = [outcome for outcome in outcomes if outcome is not None]\n"
        "        refused = {id(each): outcome for each in new for outcome in bad[:1]}\n",
        ("unit/test_uploader.py::test_only_what_was_refused_is_sent_again",),
    ),
    "failed-call-is-sent": Mutant(
        "pipeline/announcer.py",
        "            outcomes = [error] * len(new)\n",
        "            outcomes = [error and None] * len(new)\n",
        ("unit/test_queue_faults.py::test_a_queue_that_does_not_take_it",),
    ),
    "sent-again-after-a-failed-move": Mutant(
        "pipeline/announcer.py",
        "        new = [each for each in sent if each.drop.id not in self._announced]\n",
        "        new = list(sent)\n",
        ("unit/test_uploader.py::test_a_move_that_fails_sends_no_second_message",),
    ),
    "written-after-the-message-is-sent": Mutant(
        "pipeline/announcer.py",
        "        same = (now.size, now.mtime_ns) == (then.size, then.mtime_ns)\n",
        "        return True\n        same = False\n",
        ("unit/test_uploader.py::test_what_is_written_after_the_message_follows",),
    ),
    "same-size-and-time-is-the-same": Mutant(
        "pipeline/announcer.py",
        "        return same and self._checksums.of_file(sent.queued.fd) == sent.drop.crc64nvme\n",
        "        return same\n",
        ("unit/test_uploader.py::test_what_is_written_after_the_message_follows",),
    ),
    "in-hand-twice": Mutant(
        "pipeline/agenda.py",
        "            if path in self._in_hand or path in self._waiting:\n",
        "            if not path:\n",
        ("unit/test_agenda.py::test_what_is_known_is_not_begun_again",),
    ),
    "large-files-take-every-place": Mutant(
        "pipeline/agenda.py",
        "            if path in self._large or len(self._large) < self._large_places:\n",
        "            if path:\n",
        (
            "unit/test_agenda.py::test_large_files_have_so_many_places",
            "unit/test_uploader.py::test_small_files_go_past_large_ones",
        ),
    ),
    "outcomes-mixed": Mutant(
        "pipeline/batcher.py",
        "    for (_, future), outcome in zip(batch, outcomes, strict=True):\n",
        "    for (_, future), outcome in zip(batch, [*outcomes][::-1], strict=True):\n",
        ("unit/test_batcher.py::test_each_item_has_its_own_outcome",),
    ),
    "error-ends-the-batcher": Mutant(
        "pipeline/batcher.py",
        "    except Exception as error:  # noqa: BLE001  # not hidden: every waiting caller raises it\n"
        "        outcomes = [error] * len(batch)\n",
        "    except ChildProcessError:\n        outcomes = []\n",
        ("unit/test_batcher.py::test_an_error_of_the_whole_batch_reaches_everybody_and_ends_nothing",),
    ),
    "a-close-waits-for-company": Mutant(
        "pipeline/batcher.py",
        "            or self._closed\n",
        "",
        ("unit/test_batcher.py::test_a_close_flushes_what_was_submitted",),
    ),
    "no-back-off": Mutant(
        "pipeline/pacing.py",
        "    return random.uniform(0, min(cap, base * 2.0 ** min(attempt, 20)))",
        "    return random.uniform(0, base)",
        ("unit/test_pacing.py::test_delays_grow_to_their_cap",),
    ),
    "endless-back-off": Mutant(
        "pipeline/pacing.py",
        "    return random.uniform(0, min(cap, base * 2.0 ** min(attempt, 20)))",
        "    return random.uniform(0, base * 2.0**attempt)",
        ("unit/test_pacing.py::test_delays_grow_to_their_cap",),
    ),
    "gate-never-shuts": Mutant(
        "pipeline/pacing.py",
        "                self._until = now + self._base / 2 + delay(self._attempt, self._base, self._cap)\n",
        "                self._until = now\n",
        ("unit/test_pacing.py::test_a_gate_is_open_until_something_fails",),
    ),
    "every-thread-counts-an-outage": Mutant(
        "pipeline/pacing.py",
        "            if now >= self._until:\n",
        "            if now:\n",
        ("unit/test_pacing.py::test_one_outage_counts_once",),
    ),
    "a-line-for-each-failure": Mutant(
        "pipeline/pacing.py",
        "            speak = now - self._logged >= _LOG_SECONDS\n",
        "            speak = now > 0\n",
        ("unit/test_pacing.py::test_one_log_line_a_minute",),
    ),
    "a-line-for-each-file": Mutant(
        "pipeline/pacing.py",
        "            if now - self._said < _LOG_SECONDS:\n",
        "            if now < 0:\n",
        ("unit/test_pacing.py::test_troubles_of_single_files_are_one_line_a_minute",),
    ),
    "gate-outlives-a-stop": Mutant(
        "pipeline/pacing.py",
        "            if self._stopped.wait(left):\n                return False\n",
        "            time.sleep(left)\n",
        ("unit/test_pacing.py::test_a_stop_wakes_who_waits",),
    ),
}
