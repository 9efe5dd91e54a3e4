"""Watch → QueuedForUpload: what is taken, when, in which order and under which name."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "replacing-claim": Mutant(
        "pipeline/claims.py",
        "            if place is not None and self._move(item, place):\n",
        "            target = self._queued.make(item.head)\n"
        "            if target is not None:\n"
        "                source = self._watch.open(item.head)\n"
        "                os.rename(item.name, item.name, src_dir_fd=source, dst_dir_fd=target)\n",
        ("unit/test_claims.py::test_names_go_on_within_a_batch",),
    ),
    "claim-not-durable": Mutant(
        "pipeline/claims.py",
        "self._durability.sync([item.fd for item in self.files]) if self._spool.watch.durable else []\n",
        "self._durability.sync([])\n",
        (
            "unit/test_claims.py::test_claims_are_durable_target_first",
            "unit/test_watcher.py::test_every_claim_is_durable_before_it_is_offered",
        ),
    ),
    "claim-before-fsync": Mutant(
        "pipeline/claims.py",
        "        errors = self._durability.sync([item.fd for item in self.files]) if self._spool.watch.durable else []\n",
        "        claimed = [path for item in self.files if (path := self._claim(item))]\n"
        "        errors = self._durability.sync([item.fd for item in self.files]) if self._spool.watch.durable else []\n"
        "        if claimed:\n"
        "            return claimed\n",
        ("unit/test_claims.py::test_claims_are_durable_target_first",),
    ),
    "source-folder-durable-first": Mutant(
        "pipeline/claims.py",
        "        self._queued.sync(self._durability)\n",
        "        self._durability.sync(self._watch.fds())\n        self._queued.sync(self._durability)\n",
        ("unit/test_claims.py::test_claims_are_durable_target_first",),
    ),
    "folders-durable-from-below": Mutant(
        "pipeline/parents.py",
        "        return [levels[depth] for depth in sorted(levels)]\n",
        "        return [levels[depth] for depth in sorted(levels, reverse=True)]\n",
        ("unit/test_claims.py::test_claims_are_durable_target_first",),
    ),
    "folders-above-a-claim-not-durable": Mutant(
        "pipeline/parents.py",
        "        for head in {above for used in self._fds for above in folders_above(used)}:\n",
        "        for head in ():\n",
        (
            "unit/test_claims.py::test_claims_are_durable_target_first",
            "unit/test_landing.py::test_a_folder_that_a_killed_process_made_is_durable_before_it_is_noted",
            "unit/test_landing.py::test_a_folder_that_another_process_makes_is_durable_with_what_is_put_there",
        ),
    ),
    "claims-made-durable-twice": Mutant(
        "pipeline/watcher.py",
        "            self._offers.trust(batch.arrivals())\n",
        "",
        ("unit/test_watcher.py::test_claims_are_made_durable_once",),
    ),
    "moves-of-others-not-durable": Mutant(
        "pipeline/offers.py",
        "            yield from self._kept.keep(listing, self._told.warn)\n",
        "            yield from listing.files\n",
        (
            "unit/test_offers.py::test_what_a_killed_process_moved_is_durable_before_it_is_offered",
            "unit/test_offers.py::test_what_another_process_moves_later_is_durable_before_it_is_offered",
            "unit/test_watcher.py::test_a_folder_that_cannot_be_made_durable_ends_no_scan",
        ),
    ),
    "what-may-be-undone-is-offered": Mutant(
        "pipeline/kept.py",
        "            return known\n        self.note(listing.files)\n",
        "            return listing.files\n        self.note(listing.files)\n",
        (
            "unit/test_offers.py::test_a_folder_that_cannot_be_made_durable_is_told_of",
            "unit/test_watcher.py::test_a_folder_that_cannot_be_made_durable_ends_no_scan",
        ),
    ),
    "a-name-that-comes-again-is-known": Mutant(
        "pipeline/kept.py",
        "    return hash((file.head, file.name, file.arrived))\n",
        "    return hash((file.head, file.name))\n",
        ("unit/test_offers.py::test_what_another_process_moves_later_is_durable_before_it_is_offered",),
    ),
    "kept-files-forgotten": Mutant(
        "pipeline/kept.py",
        "        self.note(known)\n",
        "",
        ("unit/test_offers.py::test_what_is_trusted_costs_nothing",),
    ),
    "kept-files-without-bound": Mutant(
        "pipeline/kept.py",
        "            if len(self._now) < MOST:\n",
        "            if MOST:\n",
        ("unit/test_offers.py::test_what_is_trusted_costs_nothing",),
    ),
    "origin-of-a-version-not-durable": Mutant(
        "pipeline/kept.py",
        "            names = {part, version.stem + version.suffix}\n",
        "            names = {part, version and part}\n",
        ("unit/test_offers.py::test_the_folder_that_a_file_beside_another_came_from_is_durable",),
    ),
    "claimed-names-not-durable": Mutant(
        "pipeline/claims.py",
        "        if not self._spool.watch.durable:\n            return\n",
        "        if self._spool:\n            return\n",
        ("unit/test_watcher.py::test_every_claim_is_durable_before_it_is_offered",),
    ),
    "claims-what-is-not-durable": Mutant(
        "pipeline/claims.py",
        "for item in self.files if item.fd not in lost and (path := self._claim(item))]",
        "for item in self.files if (path := self._claim(item))]",
        ("unit/test_watcher.py::test_one_file_that_cannot_be_made_durable_waits_alone",),
    ),
    "claims-what-was-not-judged": Mutant(
        "pipeline/claims.py",
        "            if not self._is_what_was_judged(item) or (",
        "            if (",
        ("unit/test_watcher.py::test_only_what_was_judged_is_claimed",),
    ),
    "watched-links-followed": Mutant(
        "pipeline/claims.py",
        "_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC\n",
        "_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC\n",
        ("unit/test_watcher.py::test_what_is_no_file_any_more_is_not_taken",),
    ),
    "pipes-block": Mutant(
        "pipeline/claims.py",
        "_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC\n",
        "_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        ("unit/test_watcher.py::test_what_is_no_file_any_more_is_not_taken",),
    ),
    "folder-that-left-is-ours": Mutant(
        "pipeline/claims.py",
        "        self._watch.close()  # they may have been moved elsewhere since: what is not below Watch now is not ours\n",
        "",
        ("unit/test_claims.py::test_a_folder_that_left_watch_is_not_ours",),
    ),
    "sent-names-not-seen": Mutant(
        "pipeline/claims.py",
        "        return None if sent is not None and _is_there(item.name, sent) else place\n",
        "        return place\n",
        ("unit/test_claims.py::test_names_go_on_within_a_batch",),
    ),
    "one-vanished-file-ends-a-batch": Mutant(
        "pipeline/claims.py",
        '        except FileNotFoundError:\n            log.info("vanished from Watch before it was taken: %s", path)\n',
        "        except FileNotFoundError:\n            raise\n",
        ("unit/test_watcher.py::test_a_file_that_vanishes_is_nothing",),
    ),
    "old-marker-counts": Mutant(
        "pipeline/claims.py",
        "        return status.st_ctime_ns <= found.st_ctime_ns if is_regular(found) else None\n",
        "        return is_regular(found)\n",
        ("unit/test_watcher.py::test_an_older_marker_says_nothing",),
    ),
    "marker-of-the-next-file-removed": Mutant(
        "pipeline/claims.py",
        "                if os.path.samestat(status, seen) and status.st_ctime_ns == seen.st_ctime_ns:\n",
        "                if status and seen:\n",
        ("unit/test_watcher.py::test_the_marker_of_the_next_file_stays",),
    ),
    "offered-before-durable": Mutant(
        "pipeline/watcher.py",
        "        try:\n            batch.sync_folders()\n",
        "        self._offers.put(claimed)\n        try:\n            batch.sync_folders()\n",
        ("unit/test_watcher.py::test_every_claim_is_durable_before_it_is_offered",),
    ),
    "undurable-folder-is-offered": Mutant(
        "pipeline/watcher.py",
        '            self._offers.warn(f"a power cut may undo the last moves to this folder: {error}; what came waits")\n',
        "            raise error\n",
        ("unit/test_watcher.py::test_a_folder_that_cannot_be_made_durable_ends_no_scan",),
    ),
    "incomplete-files-taken": Mutant(
        "pipeline/watcher.py",
        "        if not is_regular(status) or not self._completeness.judge(path, fd, status):\n",
        "        if not is_regular(status):\n",
        ("unit/test_watcher.py::test_a_file_that_is_being_written_stays",),
    ),
    "anything-is-a-file": Mutant(
        "pipeline/watcher.py",
        "        if not is_regular(status) or not self._completeness.judge(path, fd, status):\n",
        "        if not self._completeness.judge(path, fd, status):\n",
        ("unit/test_watcher.py::test_what_is_no_file_any_more_is_not_taken",),
    ),
    "endless-queue": Mutant(
        "pipeline/watcher.py",
        "            fits = self._backlog.admits(status.st_size, may_count=not batch.files)\n",
        "            fits = True\n",
        (
            "unit/test_watcher.py::test_as_many_as_may_be_queued",
            "unit/test_watcher.py::test_as_many_bytes_as_may_be_queued",
        ),
    ),
    "batches-without-bound": Mutant(
        "pipeline/watcher.py",
        "            if batch.weight() >= room:\n",
        "            if batch.weight() < 0:\n",
        ("unit/test_watcher.py::test_batches_are_bounded_by_what_is_open",),
    ),
    "stop-not-seen": Mutant(
        "pipeline/watcher.py",
        "            if self._stopped():\n                return False\n",
        "",
        ("unit/test_watcher.py::test_a_stop_cuts_a_scan_short",),
    ),
    "no-lease": Mutant(
        "pipeline/completeness.py",
        "        return not written\n",
        "        return True\n",
        (
            "unit/test_completeness.py::test_the_kernel_decides_where_it_knows",
            "unit/test_watcher.py::test_a_file_that_is_being_written_stays",
        ),
    ),
    "change-not-seen": Mutant(
        "pipeline/completeness.py",
        "        if (seen.size, seen.mtime_ns) != (status.st_size, status.st_mtime_ns):\n",
        "        if not seen:\n",
        ("unit/test_completeness.py::test_a_change_starts_it_again",),
    ),
    "no-settling": Mutant(
        "pipeline/completeness.py",
        "            return self._note(path, status).still_since + self._settle <= self._clock()\n",
        "            return self._note(path, status).still_since <= self._clock()\n",
        (
            "unit/test_completeness.py::test_settling_takes_its_time",
            "unit/test_completeness.py::test_where_the_kernel_does_not_say_time_decides",
        ),
    ),
    "wall-clock-decides": Mutant(
        "pipeline/completeness.py",
        "        if young and self._note(path, status).first + self._minimum_age > self._clock():\n",
        "        if young:\n",
        ("unit/test_completeness.py::test_a_time_in_the_future_or_a_clock_set_back_keeps_no_file_for_ever",),
    ),
    "condemned-file-is-offered": Mutant(
        "pipeline/offers.py",
        "            if path in self._condemned:\n",
        "            if not path:\n",
        ("unit/test_watcher.py::test_a_condemned_file_is_set_aside",),
    ),
    "offered-once-for-ever": Mutant(
        "pipeline/offers.py",
        "            self._recent, self._earlier = {}, {}\n",
        "            pass\n",
        ("unit/test_watcher.py::test_all_is_offered_again_once_they_have_nothing",),
    ),
    "refused-offers-forgotten": Mutant(
        "pipeline/offers.py",
        "            if not self._offer(part):\n                return paths[start:]\n",
        "            self._offer(part)\n",
        (
            "unit/test_watcher.py::test_a_full_queue_is_left_to_the_sweep",
            "unit/test_offers.py::test_what_there_was_no_room_for_comes_as_there_is",
        ),
    ),
    "offers-remember-all": Mutant(
        "pipeline/offers.py",
        "            del self._recent[path]\n",
        "            pass\n",
        ("unit/test_offers.py::test_memory_is_bounded",),
    ),
    "no-lock": Mutant(
        "pipeline/spool.py",
        "is_regular(os.fstat(queued.fd)) and try_lock(queued.fd) and self.still_there(queued)",
        "is_regular(os.fstat(queued.fd)) and self.still_there(queued)",
        (
            "unit/test_spool.py::test_only_one_takes_a_file",
            "unit/test_uploader.py::test_a_file_in_other_hands_is_left_alone",
        ),
    ),
    "queued-pipes-are-files": Mutant(
        "pipeline/spool.py",
        "is_regular(os.fstat(queued.fd)) and try_lock(queued.fd) and self.still_there(queued)",
        "try_lock(queued.fd) and self.still_there(queued)",
        ("unit/test_spool.py::test_only_files_are_taken",),
    ),
    "replaced-while-it-was-locked": Mutant(
        "pipeline/spool.py",
        "is_regular(os.fstat(queued.fd)) and try_lock(queued.fd) and self.still_there(queued)",
        "is_regular(os.fstat(queued.fd)) and try_lock(queued.fd)",
        ("unit/test_spool.py::test_a_file_that_is_replaced_before_its_lock_is_not_taken",),
    ),
    "finishes-whatever-lies-there": Mutant(
        "pipeline/spool.py",
        "        if not self.still_there(queued):\n            return None\n",
        "",
        (
            "unit/test_spool.py::test_a_replaced_file_is_not_finished",
            "unit/test_uploader.py::test_another_file_of_the_same_name_is_never_taken_for_the_sent_one",
        ),
    ),
    "sent-files-are-removed": Mutant(
        "pipeline/spool.py",
        "        path = move(self.queued, queued.path, self.uploaded, queued.path)\n",
        "        path = queued.path\n        os.unlink(self.queued.path / path)\n",
        (
            "unit/test_spool.py::test_finish_and_fail_leave_no_empty_folders",
            "unit/test_queue_faults.py::test_nobody_received_for_longer_than_the_queue_keeps_messages",
        ),
    ),
    "reason-after-the-move": Mutant(
        "pipeline/spool.py",
        "        wanted = self._reserve_reason(queued.path, reason)\n"
        "        path = move(self.queued, queued.path, self.failed, wanted)\n",
        "        path = move(self.queued, queued.path, self.failed, queued.path)\n"
        "        self._reserve_reason(path, reason)\n",
        (
            "unit/test_spool.py::test_a_reason_is_never_without_its_file_being_kept",
            "unit/test_spool.py::test_a_reason_that_cannot_be_written_leaves_nothing",
        ),
    ),
    "failed-move-not-durable": Mutant(
        "pipeline/spool.py",
        "        self.failed.sync({path})\n",
        "",
        ("unit/test_spool.py::test_a_failed_file_is_durable_before_it_is_told",),
    ),
    "new-number-not-durable": Mutant(
        "pipeline/spool.py",
        "        self.queued.sync({old, queued.path})\n",
        "",
        ("unit/test_spool.py::test_a_new_number_is_durable",),
    ),
    "no-order": Mutant(
        "pipeline/spool.py",
        "        return with_name(path, name.stem + name.suffix), name.number\n",
        "        return path, 1\n",
        ("unit/test_uploader.py::test_versions_of_one_name_go_in_order",),
    ),
    "earlier-versions-not-waited-for": Mutant(
        "pipeline/spool.py",
        "        if self.line_of(path)[1] == 1:\n            return False\n",
        "        if path:\n            return False\n",
        ("unit/test_spool.py::test_earlier_versions_in_the_queue",),
    ),
    "numbers-of-the-queue-alone": Mutant(
        "pipeline/spool.py",
        "(self.queued.status(path) or self.uploaded.status(path)):\n",
        "self.queued.status(path):\n",
        ("unit/test_spool.py::test_names_go_on_in_the_order_of_arrival",),
    ),
    "kept-name-not-waited-for": Mutant(
        "pipeline/spool.py",
        "        if self.queued.status(path) is not None:\n            return True\n",
        "",
        ("unit/test_watcher.py::test_a_name_that_is_kept_waits_while_it_is_queued",),
    ),
    "empty-files-stay": Mutant(
        "pipeline/selection.py",
        "        if size < self._minimum:\n",
        "        if size <= self._minimum:\n",
        ("unit/test_watcher.py::test_complete_files_are_claimed_and_offered",),
    ),
    "the-newest-goes-first": Mutant(
        "pipeline/listing.py",
        "                files.append(Arrived(status.st_ctime_ns, head, name, status.st_size))\n",
        "                files.append(Arrived(-status.st_ctime_ns, head, name, status.st_size))\n",
        (
            "unit/test_watcher.py::test_the_oldest_goes_first",
            "chaos/test_many.py::test_many_files_in_many_folders",
        ),
    ),
    "one-bad-folder-ends-a-look": Mutant(
        "pipeline/listing.py",
        "        except OSError as error:\n            complain(head, error)\n            continue\n",
        "",
        (
            "unit/test_folders.py::test_walk_passes_over_what_it_cannot_read",
            "unit/test_watcher.py::test_a_folder_that_cannot_be_read_is_told_once",
        ),
    ),
    "one-bad-entry-ends-a-look": Mutant(
        "pipeline/listing.py",
        "            except OSError as error:\n                complain(within(head, name), error)\n",
        "            except ChildProcessError:\n                pass\n",
        ("unit/test_folders.py::test_walk_passes_over_one_bad_entry",),
    ),
    "told-again-and-again": Mutant(
        "pipeline/told.py",
        "        if path not in self._before and path not in self._now:\n",
        "        if path:\n",
        ("unit/test_watcher.py::test_a_folder_that_cannot_be_read_is_told_once",),
    ),
    "new-events-do-not-wake": Mutant(
        "pipeline/events.py",
        '        """Wake the watcher."""\n        self._wake.set()\n',
        '        """Wake the watcher."""\n',
        ("integration/test_events.py::test_what_follows_a_claim_is_heard_at_once",),
    ),
    "overflow-not-told": Mutant(
        "pipeline/events.py",
        "            self._overflowed = True\n            self._wake.set()\n",
        "            self._wake.set()\n",
        ("integration/test_watch_faults.py::test_d18_more_events_than_the_kernel_keeps",),
    ),
    "no-events-no-watcher": Mutant(
        "pipeline/events.py",
        '        except OSError as error:\n            self._trouble = f"cannot be had ({error.strerror})"\n',
        "        except ChildProcessError:\n            pass\n",
        ("integration/test_watch_faults.py::test_d19_no_kernel_events",),
    ),
    "events-alone": Mutant(
        "pipeline/roles/watcher.py",
        "_SOON_SECONDS if once or watcher.limited else interval)\n",
        "_SOON_SECONDS if once or watcher.limited else 1e6)\n",
        ("integration/test_watch_faults.py::test_d20_silent_events",),
    ),
}
