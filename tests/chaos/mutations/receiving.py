"""SQS → S3 → DownloadedFromS3: messages in hand, what becomes of each, and the command."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "delete-first": Mutant(
        "pipeline/poller.py",
        "            published = self._publisher.submit((held, arrival))\n",
        "            self._queue.delete([held.message.receipt])\n"
        "            published = self._publisher.submit((held, arrival))\n",
        ("unit/test_poller.py::test_the_order_of_effects",),
    ),
    "publishes-what-is-anothers": Mutant(
        "pipeline/poller.py",
        "        return self._hand.is_ours(held) and not self._cancelled.is_set()\n",
        "        return not self._cancelled.is_set()\n",
        ("unit/test_poller.py::test_a_lost_receipt_publishes_nothing",),
    ),
    "publishes-after-a-stop": Mutant(
        "pipeline/poller.py",
        "        return self._hand.is_ours(held) and not self._cancelled.is_set()\n",
        "        return self._hand.is_ours(held)\n",
        ("unit/test_poller.py::test_what_a_stop_cut_short_gets_no_name",),
    ),
    "duplicates-are-fetched": Mutant(
        "pipeline/poller.py",
        "        if known_as is None or not self._landing.resume(known_as):\n            return None\n",
        "        if known_as:\n            return None\n",
        (
            "unit/test_queue_faults.py::test_a_duplicate_is_not_downloaded",
            "unit/test_foreign.py::test_a_version_that_the_ledger_knows_is_not_fetched_again",
        ),
    ),
    "small-files-ask-for-no-room": Mutant(
        "pipeline/poller.py",
        "            self._room(arrival.fd, notice.size or 0)\n",
        "",
        ("unit/test_poller.py::test_larger_than_is_wanted_is_never_fetched",),
    ),
    "large-files-ask-for-no-room": Mutant(
        "pipeline/poller.py",
        "        admit = functools.partial(self._room, arrival.fd)\n",
        "        admit = lambda _size: None\n",
        (
            "unit/test_poller.py::test_a_file_without_room_waits_and_smaller_ones_come",
            "unit/test_poller.py::test_files_without_room_leave_places_for_others",
        ),
    ),
    "one-bad-record-stops-the-others": Mutant(
        "pipeline/poller.py",
        "            except (NeverError, LaterError) as error:\n                troubles.append(error)\n",
        "            except ChildProcessError:\n                pass\n",
        ("unit/test_poller.py::test_each_record_of_a_message_is_for_itself",),
    ),
    "buried-while-a-record-may-come": Mutant(
        "pipeline/poller.py",
        "    if len(never) == len(troubles):\n",
        "    if never or not troubles:\n",
        ("unit/test_poller.py::test_a_message_is_not_buried_while_a_record_may_come",),
    ),
    "deleted-before-the-command": Mutant(
        "pipeline/poller.py",
        "        if self._processing and drops:\n            self._processing.submit(held, drops, trouble)\n",
        "        if self._processing and drops:\n            self._acknowledger.submit(held)\n",
        ("unit/test_processing.py::test_the_message_is_deleted_only_after_the_command",),
    ),
    "busy-on-an-empty-queue": Mutant(
        "pipeline/poller.py",
        "                self._stopping.wait(idle)  # this queue does not know long polling\n",
        "                pass\n",
        ("unit/test_queue_faults.py::test_an_empty_queue_keeps_nobody_busy",),
    ),
    "receives-during-a-pause": Mutant(
        "pipeline/poller.py",
        "            if not all(gate.wait() for gate in self._gates()):\n                return None\n",
        "",
        ("unit/test_processing.py::test_nothing_is_received_while_no_command_can_be_started",),
    ),
    "stop-keeps-messages": Mutant(
        "pipeline/poller.py",
        "        self._hand.give_all_back()  # a download that stalls does not keep its message from the next taker\n",
        "",
        ("unit/test_poller.py::test_a_stop_gives_a_stalled_download_back",),
    ),
    "stop-cancels-no-download": Mutant(
        "pipeline/poller.py",
        "            self._cancelled.set()\n            self._store.cancel()\n",
        "",
        ("unit/test_poller.py::test_a_stop_gives_messages_back_at_once",),
    ),
    "object-replaced-since-is-refused": Mutant(
        "pipeline/poller.py",
        "        return download(size=None)  # another program's object, which was replaced since\n",
        "        return download(size=notice.size)\n",
        ("unit/test_poller.py::test_an_object_that_another_program_replaced",),
    ),
    "more-than-there-is-room-for": Mutant(
        "pipeline/receiver.py",
        "        while 0 < room < QUEUE_BATCH and self._slots.acquire(timeout=patience):\n            room += 1\n",
        "        room = QUEUE_BATCH if room else 0\n",
        ("unit/test_poller.py::test_never_more_messages_than_free_workers",),
    ),
    "unused-room-is-lost": Mutant(
        "pipeline/receiver.py",
        "            self._slots.release(unused)\n",
        "            pass\n",
        ("unit/test_queue_faults.py::test_a_queue_that_gives_few",),
    ),
    "error-beside-keeps-places": Mutant(
        "pipeline/receiver.py",
        '        except Exception:\n            log.exception("an error of the program; the queue is asked again")\n'
        "            messages = None\n",
        "        except ChildProcessError:\n            messages = None\n",
        ("unit/test_poller.py::test_an_unexpected_error_of_a_call_beside_keeps_no_place",),
    ),
    "refused-queue-is-asked-on": Mutant(
        "pipeline/receiver.py",
        "            self._gate().shut(error)\n            return None\n",
        "            return None\n",
        ("unit/test_queue_faults.py::test_a_queue_that_refuses",),
    ),
    "hopeless-messages-vanish": Mutant(
        "pipeline/handling.py",
        "            self._acknowledger.bury(held.message, str(problem))\n",
        "            log.error(problem)\n",
        (
            "unit/test_poller.py::test_a_hostile_message_makes_no_request",
            "unit/test_poller.py::test_a_message_that_contradicts_the_object_is_buried",
        ),
    ),
    "deleted-before-it-is-buried": Mutant(
        "pipeline/handling.py",
        "            self._acknowledger.bury(held.message, str(problem))\n            self._acknowledger.submit(held)\n",
        "            self._acknowledger.submit(held)\n            self._acknowledger.bury(held.message, str(problem))\n",
        ("unit/test_poller.py::test_dead_letters_that_fail_keep_the_message",),
    ),
    "pause-gives-messages-back": Mutant(
        "pipeline/handling.py",
        "                if isinstance(problem, RefusedError):\n"
        "                    raise  # it may be this one alone: it does not wait here\n",
        "                raise\n",
        (
            "unit/test_queue_faults.py::test_what_waits_is_held",
            "unit/test_poller.py::test_a_pause_of_the_world_outside_loses_nothing",
        ),
    ),
    "refused-object-holds-a-thread": Mutant(
        "pipeline/handling.py",
        "                if isinstance(problem, RefusedError):\n"
        "                    raise  # it may be this one alone: it does not wait here\n",
        "                pass\n",
        ("unit/test_doubts.py::test_objects_that_may_not_be_read_do_not_take_all_places",),
    ),
    "goes-on-with-what-was-lost-in-a-pause": Mutant(
        "pipeline/handling.py",
        "            if not self._hand.is_ours(held):\n",
        "            if not held:\n",
        ("unit/test_poller.py::test_what_was_lost_in_a_pause_is_given_up",),
    ),
    "files-without-room-take-every-place": Mutant(
        "pipeline/handling.py",
        "        if not self._room_places.acquire(blocking=False):\n            raise problem\n",
        "        if not self._room_places.acquire(blocking=True):\n            raise problem\n",
        ("unit/test_poller.py::test_files_without_room_leave_places_for_others",),
    ),
    "failed-message-comes-at-once": Mutant(
        "pipeline/handling.py",
        "    return 5 * isinstance(problem, MissingError) + pacing.delay(receive_count, 0.5, problem.longest)\n",
        "    return 0.0\n",
        (
            "unit/test_poller.py::test_a_missing_object_keeps_its_message",
            "unit/test_poller.py::test_what_costs_each_time_is_tried_more_and_more_rarely",
        ),
    ),
    "what-costs-is-tried-each-minute": Mutant(
        "pipeline/failures.py",
        "_RARELY = 600.0\n",
        "_RARELY = 60.0\n",
        ("unit/test_poller.py::test_what_costs_each_time_is_tried_more_and_more_rarely",),
    ),
    "error-of-the-program-keeps-a-place": Mutant(
        "pipeline/handling.py",
        "            self._groups.give_back(held, 30)\n",
        "            pass\n",
        ("unit/test_poller.py::test_an_unexpected_error_keeps_no_place",),
    ),
    "stop-begins-what-it-was-given": Mutant(
        "pipeline/handling.py",
        '            if self._stopping.is_set():\n                raise CancelledError("stopping")\n',
        "",
        ("unit/test_poller.py::test_a_stop_during_a_pause_gives_messages_back",),
    ),
    "failed-deletes-forgotten": Mutant(
        "pipeline/acknowledger.py",
        "                again.append(held)\n",
        "                pass\n",
        ("unit/test_poller.py::test_a_delete_that_fails_is_tried_again",),
    ),
    "deletes-mixed": Mutant(
        "pipeline/acknowledger.py",
        "        for held, outcome in zip(batch, outcomes, strict=True):\n",
        "        for held, outcome in zip(batch, [*outcomes][::-1], strict=True):\n",
        ("unit/test_poller.py::test_only_what_could_not_be_deleted_is_tried_again",),
    ),
    "deletes-without-end": Mutant(
        "pipeline/acknowledger.py",
        "                tries += not paused\n",
        "",
        ("unit/test_poller.py::test_a_delete_that_fails_is_tried_again",),
    ),
    "not-kept-where-there-are-no-dead-letters": Mutant(
        "pipeline/acknowledger.py",
        "            self._keep_message(message, reason)\n",
        "",
        ("unit/test_poller.py::test_without_dead_letters_the_message_is_kept_in_a_folder",),
    ),
    "no-heartbeat": Mutant(
        "pipeline/hand.py",
        "                self._extend(receipts)\n",
        "                for receipt in receipts:\n                    self._held[receipt].renew += 1\n",
        (
            "unit/test_hand.py::test_what_is_held_stays_invisible",
            "unit/test_queue_faults.py::test_what_waits_is_held",
        ),
    ),
    "loss-ignored": Mutant(
        "pipeline/hand.py",
        "        if isinstance(outcome, ReceiptError) or time.monotonic() >= min(held.deadline, held.last):\n",
        "        if time.monotonic() >= min(held.deadline, held.last):\n",
        ("unit/test_hand.py::test_a_receipt_that_sqs_refuses_is_lost",),
    ),
    "deadline-ignored": Mutant(
        "pipeline/hand.py",
        "        return not held.lost and not held.done and time.monotonic() < held.deadline\n",
        "        return not held.lost and not held.done\n",
        ("unit/test_hand.py::test_beyond_its_deadline_it_is_not_ours",),
    ),
    "given-back-is-ours": Mutant(
        "pipeline/hand.py",
        "        return not held.lost and not held.done and time.monotonic() < held.deadline\n",
        "        return not held.lost and time.monotonic() < held.deadline\n",
        ("unit/test_poller.py::test_what_is_given_back_is_never_published",),
    ),
    "deadline-from-the-answer": Mutant(
        "pipeline/hand.py",
        "            held.deadline = asked + self._visibility\n",
        "            held.deadline = time.monotonic() + self._visibility\n",
        ("unit/test_hand.py::test_a_slow_answer_gives_no_longer",),
    ),
    "trouble-is-a-loss": Mutant(
        "pipeline/hand.py",
        "        if isinstance(outcome, ReceiptError) or time.monotonic() >= min(held.deadline, held.last):\n",
        "        if outcome is not None:\n",
        ("unit/test_hand.py::test_trouble_is_no_loss_until_the_deadline",),
    ),
    "longer-than-sqs-allows": Mutant(
        "pipeline/hand.py",
        "LONGEST_SECONDS = 12 * 3600\n",
        "LONGEST_SECONDS = 120 * 3600\n",
        ("unit/test_queue_faults.py::test_twelve_hours_in_flight",),
    ),
    "answers-to-extensions-mixed": Mutant(
        "pipeline/hand.py",
        "            for receipt, outcome in zip(receipts, outcomes, strict=True):\n                if receipt",
        "            for receipt, outcome in zip(receipts, outcomes[::-1], strict=True):\n                if receipt",
        ("unit/test_hand.py::test_each_of_a_beat_has_its_own_outcome",),
    ),
    "error-ends-the-heartbeat": Mutant(
        "pipeline/hand.py",
        "            return [LaterError(str(error))] * len(receipts)\n",
        "            raise\n",
        ("unit/test_hand.py::test_an_error_of_the_program_does_not_end_the_heartbeat",),
    ),
    "let-go-is-given-back": Mutant(
        "pipeline/hand.py",
        "            ours = [each for each in (held, *followers) if not each.done]\n",
        "            ours = [held, *followers]\n",
        ("unit/test_hand.py::test_what_was_let_go_is_never_given_back",),
    ),
    "nothing-is-given-back": Mutant(
        "pipeline/hand.py",
        "            outcomes = self._change(receipts, max(0, int(min(seconds, longest))))\n",
        "            outcomes: list[RelayError | None] = [None for _ in receipts]\n",
        (
            "unit/test_hand.py::test_given_back_at_once",
            "unit/test_poller.py::test_a_stop_gives_messages_back_at_once",
        ),
    ),
    "groups-without-order": Mutant(
        "pipeline/groups.py",
        "            return len(line) == 1\n",
        "            return len(line) > 0\n",
        ("unit/test_groups.py::test_the_next_begins_when_one_is_settled",),
    ),
    "followers-overtake": Mutant(
        "pipeline/groups.py",
        "        self._hand.give_back(held, seconds, *followers)\n        for _ in (held, *followers):\n",
        "        self._hand.give_back(held, seconds)\n        for _ in (held,):\n",
        ("unit/test_groups.py::test_what_follows_goes_back_too",),
    ),
    "followers-of-a-lost-one-stay": Mutant(
        "pipeline/groups.py",
        "        if held.message.group:\n            self.give_back(held, 0)  # but for itself: it was let go\n        else:\n",
        "        if held:\n",
        ("unit/test_groups.py::test_what_follows_a_lost_one_goes_back_at_once",),
    ),
    "doubtful-messages-take-every-place": Mutant(
        "pipeline/doubts.py",
        "            stays = not held.message.group and len(self._waiting) < self._most\n",
        "            stays = not held.message.group\n",
        ("unit/test_doubts.py::test_objects_that_may_not_be_read_do_not_take_all_places",),
    ),
    "doubtful-groups-take-places": Mutant(
        "pipeline/doubts.py",
        "            stays = not held.message.group and len(self._waiting) < self._most\n",
        "            stays = len(self._waiting) < self._most\n",
        ("unit/test_doubts.py::test_a_group_that_is_refused_goes_back",),
    ),
    "undecided-comes-soon": Mutant(
        "pipeline/doubts.py",
        "_BASE_SECONDS, _LONGEST_SECONDS = 30.0, 3600.0\n",
        "_BASE_SECONDS, _LONGEST_SECONDS = 0.5, 60.0\n",
        ("unit/test_doubts.py::test_what_goes_back_undecided_stays_away_for_long",),
    ),
    "doubts-are-all-tried-at-once": Mutant(
        "pipeline/doubts.py",
        "            again()\n            self._wait()  # at a stop it does not, and each gives its message back\n",
        "            again()\n",
        ("unit/test_doubts.py::test_one_is_tried_at_a_time_and_each_waits_its_turn",),
    ),
    "done-command-is-run-again": Mutant(
        "pipeline/processing.py",
        "        return row if row and row.command == DUE else None\n",
        "        return row\n",
        ("unit/test_processing.py::test_a_duplicate_of_what_is_done_runs_nothing",),
    ),
    "no-second-look-under-the-lock": Mutant(
        "pipeline/processing.py",
        "            row = self._due(drop)  # whoever held the lock before may have done it\n",
        "            row = self._ledger.find(drop)\n",
        ("unit/test_processing.py::test_who_waited_for_the_lock_looks_again",),
    ),
    "commands-for-what-is-anothers": Mutant(
        "pipeline/processing.py",
        "            if held.lost:\n",
        "            if not held:\n",
        ("unit/test_processing.py::test_a_message_that_is_no_longer_ours_runs_nothing",),
    ),
    "succeeded-is-run-again": Mutant(
        "pipeline/processing.py",
        "            self._succeeded.add(drop)\n",
        "",
        ("unit/test_processing.py::test_what_succeeded_is_not_run_again_where_the_ledger_fails",),
    ),
    "commands-without-end": Mutant(
        "pipeline/processing.py",
        "        if tries < self._command.tries:\n",
        "        if tries:\n",
        ("unit/test_processing.py::test_what_always_fails_goes_to_the_dead_letters",),
    ),
    "two-run-one-command": Mutant(
        "pipeline/command_locks.py",
        "            if not try_lock(fd):\n                os.close(fd)\n                return None\n",
        "",
        (
            "unit/test_command.py::test_one_at_a_time",
            "unit/test_processing.py::test_two_pollers_never_run_it_beside_each_other",
        ),
    ),
    "command-without-the-lock": Mutant(
        "pipeline/command.py",
        "                pass_fds=(lock_fd,),\n",
        "",
        ("unit/test_command.py::test_a_command_that_outlives_its_poller_is_seen",),
    ),
    "command-without-timeout": Mutant(
        "pipeline/command.py",
        "        if left <= 0 or cancelled():\n",
        "        if left <= -25 or cancelled():\n",
        ("unit/test_command.py::test_a_timeout_lets_it_tidy_up",),
    ),
    "stop-waits-for-a-command": Mutant(
        "pipeline/command.py",
        "        if left <= 0 or cancelled():\n",
        "        if left <= 0:\n",
        ("unit/test_command.py::test_a_stop_ends_it",),
    ),
    "sigterm-alone": Mutant(
        "pipeline/command.py",
        "        _signal(process, signal.SIGKILL)\n        process.wait()\n",
        "        process.poll()\n",
        (
            "unit/test_command.py::test_what_ignores_sigterm_is_killed",
            "unit/test_command.py::test_what_a_failed_one_leaves_running_is_ended",
        ),
    ),
    "output-without-bound": Mutant(
        "pipeline/command.py",
        "            self.tail = (self.tail + data)[-_TAIL:]\n",
        "            self.tail = self.tail + data\n",
        ("unit/test_command.py::test_only_the_end_of_its_output_is_kept",),
    ),
}
