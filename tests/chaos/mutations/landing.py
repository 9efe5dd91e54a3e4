"""What arrives gets its name once: the landing, the ledger, the room, and messages that are put aside."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "no-ledger": Mutant(
        "pipeline/landing.py",
        "new = self.ledger.begin(rows)",
        "new = [True] * len(rows)",
        ("unit/test_landing.py::test_the_same_drop_twice_in_one_batch",),
    ),
    "each-delivery-is-a-drop": Mutant(
        "pipeline/ledger.py",
        "                base.execute(insert, (row.drop_id, row.temp, row.name, row.command, now)).rowcount == 1 for row in rows\n",
        "                base.execute(insert, (row.temp, row.temp, row.name, row.command, now)).rowcount == 1 for row in rows\n",
        (
            "unit/test_queue_faults.py::test_duplicates_disorder_and_messages_that_do_not_die",
            "unit/test_queue_faults.py::test_a_lost_answer_is_a_duplicate_message_and_one_file",
            "unit/test_queue_faults.py::test_a_delete_that_deletes_nothing",
            "unit/test_queue_faults.py::test_a_message_expires_during_its_download",
        ),
    ),
    "no-doubt": Mutant(
        "pipeline/landing.py",
        '        if row.state == "publishing":\n',
        "        if False:\n",
        ("unit/test_landing.py::test_killed_at_every_step",),
    ),
    "arrival-not-durable": Mutant(
        "pipeline/landing.py",
        "        if not self.folder.durable:\n            return [None] * len(arrivals)\n",
        "        if self.folder:\n            return [None] * len(arrivals)\n",
        ("unit/test_landing.py::test_the_content_is_durable_before_its_name",),
    ),
    "incoming-name-not-durable": Mutant(
        "pipeline/landing.py",
        "self._durability.sync([*(arrival.fd for arrival in arrivals), self.incoming.fd])\n",
        "[*self._durability.sync([arrival.fd for arrival in arrivals]), None]\n",
        ("unit/test_landing.py::test_the_content_is_durable_before_its_name",),
    ),
    "undurable-arrival-is-published": Mutant(
        "pipeline/landing.py",
        "        return [next(paths) if error is None else error for error in outcomes]\n",
        "        return self._publish(arrivals) if any(outcomes) else list(paths)\n",
        ("unit/test_landing.py::test_what_cannot_be_made_durable_gets_no_name",),
    ),
    "named-before-the-ledger-knows": Mutant(
        "pipeline/landing.py",
        "        new = self.ledger.begin(rows)\n"
        "        for arrival in arrivals:\n"
        "            arrival.in_doubt = False\n"
        "        got = [\n"
        "            self._place(arrival, row) if is_new else None\n"
        "            for arrival, row, is_new in zip(arrivals, rows, new, strict=True)\n"
        "        ]\n",
        "        got = [self._place(arrival, row) for arrival, row in zip(arrivals, rows, strict=True)]\n"
        "        self.ledger.begin(rows)\n"
        "        for arrival in arrivals:\n"
        "            arrival.in_doubt = False\n",
        ("unit/test_landing.py::test_a_ledger_that_cannot_be_written_publishes_nothing",),
    ),
    "delivered-before-the-name-is-durable": Mutant(
        "pipeline/landing.py",
        '            sync_below(self.folder, {path.rpartition("/")[0] for _, path in drops}, self._durability)\n'
        "            self.ledger.deliver([drop_id for drop_id, _ in drops])\n",
        "            self.ledger.deliver([drop_id for drop_id, _ in drops])\n"
        '            sync_below(self.folder, {path.rpartition("/")[0] for _, path in drops}, self._durability)\n',
        ("unit/test_landing.py::test_the_name_is_durable_before_it_is_delivered",),
    ),
    "equal-size-is-equal-content": Mutant(
        "pipeline/landing.py",
        "            equal = same_size and self._checksum(fd) == arrival.checksum\n",
        "            equal = same_size\n",
        ("unit/test_landing.py::test_another_content_of_the_same_size_is_no_copy",),
    ),
    "name-given-before-a-kill-not-durable": Mutant(
        "pipeline/landing.py",
        "            self.folder.sync({wanted})\n",
        "",
        ("unit/test_landing.py::test_a_name_that_was_given_before_a_kill_is_durable_before_the_old_one_goes",),
    ),
    "folder-of-a-link-not-durable": Mutant(
        "pipeline/landing.py",
        "sync=not self.folder.facilities.noreplace) as place:\n",
        "sync=False) as place:\n",
        ("unit/test_landing.py::test_a_folder_that_another_process_makes_is_durable_with_what_is_put_there",),
    ),
    "copy-somebody-put-there-not-durable": Mutant(
        "pipeline/landing.py",
        "                os.fsync(fd)  # somebody else put it there, perhaps just now\n",
        "                pass\n",
        ("unit/test_landing.py::test_a_copy_that_somebody_put_there_is_durable",),
    ),
    "name-of-another-drop-is-a-copy": Mutant(
        "pipeline/landing.py",
        "        if self.ledger.held_by_another(encode_path(arrival.path), arrival.drop_id):\n            return False\n",
        "",
        ("unit/test_foreign.py::test_the_same_content_put_again_is_a_file_of_its_own",),
    ),
    "replacing-landing": Mutant(
        "pipeline/landing.py",
        "kernel.rename_noreplace(self.incoming.fd, row.temp, place.fd, place.name, self.folder.facilities)\n",
        "os.rename(row.temp, place.name, src_dir_fd=self.incoming.fd, dst_dir_fd=place.fd)\n",
        ("unit/test_landing.py::test_a_name_that_is_taken_at_the_last_moment",),
    ),
    "written-under-its-name": Mutant(
        "pipeline/landing.py",
        "                    kernel.rename_noreplace(self.incoming.fd, row.temp, place.fd, place.name, self.folder.facilities)\n",
        "                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL\n"
        "                    source, fd = self.incoming.open(row.temp), os.open(place.name, flags, 0o640, dir_fd=place.fd)\n"
        "                    while os.sendfile(fd, source, None, 1 << 30):\n"
        "                        pass\n"
        "                    os.close(fd)\n"
        "                    os.close(source)\n"
        "                    self._unlink(row.temp)\n",
        ("unit/test_landing.py::test_the_name_is_given_to_what_is_whole",),
    ),
    "promised-file-is-removed": Mutant(
        "pipeline/landing.py",
        "            elif arrival.temp and not (arrival.in_ledger and self._is_promised(arrival)):\n",
        "            elif arrival.temp:\n",
        ("unit/test_landing.py::test_discard_never_removes_what_the_ledger_promised",),
    ),
    "doubtful-file-is-removed": Mutant(
        "pipeline/landing.py",
        "            if arrival.in_doubt:\n",
        "            if not arrival:\n",
        ("unit/test_landing.py::test_a_transaction_that_came_through_after_all",),
    ),
    "arrival-not-locked": Mutant(
        "pipeline/landing.py",
        "        if not try_lock(fd) or not (status := os.fstat(fd)).st_nlink:\n",
        "        if not (status := os.fstat(fd)).st_nlink:\n",
        ("unit/test_landing.py::test_recovery_leaves_the_files_of_living_processes",),
    ),
    "arrival-taken-for-a-stray-is-used": Mutant(
        "pipeline/landing.py",
        "        if not try_lock(fd) or not (status := os.fstat(fd)).st_nlink:\n",
        "        if not try_lock(fd) or not (status := os.fstat(fd)):\n",
        ("unit/test_landing.py::test_a_file_taken_for_a_stray_is_not_used",),
    ),
    "files-for-everybody": Mutant(
        "pipeline/landing.py",
        "_FILE_MODE = 0o640\n",
        "_FILE_MODE = 0o777\n",
        ("unit/test_poller.py::test_metadata_asks_for_nothing",),
    ),
    "published-by-two": Mutant(
        "pipeline/landing.py",
        "            if not try_lock(fd):\n"
        '                raise LaterError("another process is giving this file its name just now")\n',
        "",
        ("unit/test_landing.py::test_recovery_leaves_the_files_of_living_processes",),
    ),
    "awaited-name-is-given-away": Mutant(
        "pipeline/landing.py",
        "        return self.command is not None and self.ledger.is_awaited(encode_path(path))\n",
        "        return False\n",
        ("unit/test_landing.py::test_a_name_that_a_command_waits_for_is_given_to_nobody",),
    ),
    "taken-away-comes-back": Mutant(
        "pipeline/landing.py",
        "        if self._is_linked(row.temp):\n",
        "        if not row:\n",
        ("unit/test_landing.py::test_a_published_file_that_was_moved_is_not_published_again",),
    ),
    "gone-is-an-error": Mutant(
        "pipeline/landing.py",
        "                    if self._is_gone(row.temp):\n",
        "                    if not row:\n",
        (
            "unit/test_landing.py::test_a_person_takes_the_file_before_it_was_noted",
            "unit/test_landing.py::test_killed_at_every_step",
        ),
    ),
    "one-bad-file-fails-its-batch": Mutant(
        "pipeline/landing.py",
        "        except OSError as error:\n            return error\n\n    def _is_equal",
        '        except ChildProcessError:\n            return ""\n\n    def _is_equal',
        ("unit/test_landing.py::test_one_bad_file_does_not_fail_its_batch",),
    ),
    "strays-of-living-processes-removed": Mutant(
        "pipeline/strays.py",
        "            if is_regular(os.fstat(fd)) and try_lock(fd) and not self._is_spoken_of(name):\n",
        "            if is_regular(os.fstat(fd)) and not self._is_spoken_of(name):\n",
        ("unit/test_landing.py::test_recovery_leaves_the_files_of_living_processes",),
    ),
    "promised-strays-removed": Mutant(
        "pipeline/strays.py",
        "            if is_regular(os.fstat(fd)) and try_lock(fd) and not self._is_spoken_of(name):\n",
        "            if is_regular(os.fstat(fd)) and try_lock(fd):\n",
        (
            "unit/test_landing.py::test_a_transaction_that_came_through_after_all",
            "unit/test_landing.py::test_a_stray_of_a_commit_that_was_cut_off",
        ),
    ),
    "anything-is-a-stray": Mutant(
        "pipeline/strays.py",
        "        if not name.startswith(_TEMP_NAMES):\n",
        "        if not name:\n",
        ("unit/test_landing.py::test_only_temporary_files_are_removed",),
    ),
    "half-a-commit-speaks": Mutant(
        "pipeline/strays.py",
        "        self._ledger.write()\n",
        "",
        ("unit/test_landing.py::test_a_stray_of_a_commit_that_was_cut_off",),
    ),
    "ledger-not-durable": Mutant(
        "pipeline/ledger.py",
        "{'FULL' if durable else 'NORMAL'}",
        "{'NORMAL' if durable else 'NORMAL'}",
        ("unit/test_ledger.py::test_a_durable_ledger_syncs_each_transaction",),
    ),
    "ledger-behind-a-link": Mutant(
        "pipeline/ledger.py",
        "            if part.is_symlink():\n",
        "            if not part:\n",
        ("unit/test_ledger.py::test_a_ledger_behind_a_link_is_refused",),
    ),
    "newer-ledger-is-used": Mutant(
        "pipeline/ledger.py",
        "            if not 0 <= version <= SCHEMA:\n",
        "            if version < 0:\n",
        ("unit/test_ledger.py::test_an_unknown_schema_is_refused_and_left_untouched",),
    ),
    "damaged-ledger-is-an-error-of-the-program": Mutant(
        "pipeline/ledger.py",
        "        except sqlite3.DatabaseError as error:\n",
        "        except ChildProcessError as error:\n",
        ("unit/test_ledger.py::test_what_is_no_ledger_is_refused_and_left_untouched",),
    ),
    "rows-replaced": Mutant(
        "pipeline/ledger.py",
        "            \"INSERT INTO drops (drop_id, temp, name, state, command, noted) VALUES (?, ?, ?, 'publishing', ?, ?) \"\n"
        '            "ON CONFLICT DO NOTHING"\n',
        '            "INSERT OR REPLACE INTO drops (drop_id, temp, name, state, command, noted) "\n'
        "            \"VALUES (?, ?, ?, 'publishing', ?, ?)\"\n",
        (
            "unit/test_ledger.py::test_a_drop_is_new_once",
            "unit/test_landing.py::test_the_same_drop_twice_in_one_batch",
        ),
    ),
    "delivered-name-changes": Mutant(
        "pipeline/ledger.py",
        "\"UPDATE drops SET name = ? WHERE drop_id = ? AND state = 'publishing'\"",
        '"UPDATE drops SET name = ? WHERE drop_id = ?"',
        ("unit/test_ledger.py::test_a_delivered_name_is_never_changed",),
    ),
    "done-becomes-due": Mutant(
        "pipeline/ledger.py",
        "\"UPDATE drops SET command = ?, tries = ? WHERE drop_id = ? AND command = 'due'\"",
        '"UPDATE drops SET command = ?, tries = ? WHERE drop_id = ?"',
        ("unit/test_ledger.py::test_what_is_done_stays_done",),
    ),
    "half-a-transaction": Mutant(
        "pipeline/ledger.py",
        '                self._base.execute("ROLLBACK")\n',
        '                self._base.execute("COMMIT")\n',
        ("unit/test_ledger.py::test_a_transaction_is_whole_or_nothing",),
    ),
    "forgets-what-lies-there": Mutant(
        "pipeline/ledger.py",
        "for drop_id, name, is_old in rows if is_old and not keeps(name)]",
        "for drop_id, name, is_old in rows if is_old]",
        (
            "unit/test_ledger.py::test_a_ledger_forgets_what_is_old",
            "unit/test_forgetting.py::test_what_lies_there_is_not_forgotten",
        ),
    ),
    "forgets-what-is-due": Mutant(
        "pipeline/ledger.py",
        "\"DELETE FROM drops WHERE drop_id = ? AND state = 'delivered' AND command <> 'due'\"",
        '"DELETE FROM drops WHERE drop_id = ?"',
        ("unit/test_ledger.py::test_a_ledger_forgets_what_is_old",),
    ),
    "any-size-comes": Mutant(
        "pipeline/room.py",
        "        if 0 < self._largest < size:\n",
        "        if size < 0:\n",
        ("unit/test_room.py::test_larger_than_is_wanted_never_comes",),
    ),
    "kept-room-is-taken": Mutant(
        "pipeline/room.py",
        "        if free < max(self._spare, 1):\n",
        "        if free < 1:\n",
        ("unit/test_room.py::test_below_what_is_kept_nothing_comes",),
    ),
    "larger-than-the-disk-waits": Mutant(
        "pipeline/room.py",
        "        if size > total - self._spare:\n",
        "        if size < 0:\n",
        ("unit/test_room.py::test_what_does_not_fit_waits_alone",),
    ),
    "no-room-is-tried": Mutant(
        "pipeline/room.py",
        "        if size > free - self._spare or (size >= _RESERVED_FROM and not self._reserve(fd, size)):\n",
        "        if size >= _RESERVED_FROM and not self._reserve(fd, size):\n",
        ("unit/test_room.py::test_what_does_not_fit_waits_alone",),
    ),
    "disk-that-was-filled-meanwhile": Mutant(
        "pipeline/room.py",
        "            return False\n        return True\n",
        "            return True\n        return True\n",
        ("unit/test_room.py::test_a_disk_that_was_filled_meanwhile",),
    ),
    "kept-message-not-durable": Mutant(
        "pipeline/dead_letters.py",
        "        os.fsync(file.fileno())\n",
        "        pass\n",
        ("unit/test_dead_letters.py::test_a_kept_message_is_durable",),
    ),
    "kept-message-under-any-name": Mutant(
        "pipeline/dead_letters.py",
        '"".join(char if char.isalnum() or char in "-_" else "_" for char in message.id)[:100]\n',
        "message.id\n",
        ("unit/test_dead_letters.py::test_any_id_stays_in_the_folder",),
    ),
    "half-a-kept-message": Mutant(
        "pipeline/dead_letters.py",
        "    temp, final = ",
        '    temp, final = folder / f"{safe}.json", ',
        ("unit/test_dead_letters.py::test_a_kept_message_appears_whole",),
    ),
    "deleted-though-it-was-refused": Mutant(
        "pipeline/redrive.py",
        "        sent = list(compress(old, self._send([each.message for each in old])))\n",
        "        sent = old\n        self._send([each.message for each in old])\n",
        ("unit/test_redrive.py::test_what_is_refused_is_left",),
    ),
    "removed-though-it-was-refused": Mutant(
        "pipeline/redrive.py",
        "            if all(self._send([message])):\n",
        "            if self._send([message]):\n",
        ("unit/test_redrive.py::test_kept_messages_are_sent_and_then_removed",),
    ),
    "redrive-goes-round": Mutant(
        "pipeline/redrive.py",
        "        old = [each for each in held if each.message.sent_ms < started_ms]\n",
        "        old = list(held)\n",
        ("unit/test_redrive.py::test_what_dies_again_is_left",),
    ),
    "redriven-under-its-old-id": Mutant(
        "pipeline/redrive.py",
        'f"redriven-{letter.id}"[:UNIQUE_CHARACTERS])\n',
        '"")\n',
        ("unit/test_redrive.py::test_a_dead_letter_goes_into_a_fifo_queue_that_has_just_had_it",),
    ),
    "never-delivered-is-not-announced": Mutant(
        "pipeline/reconcile.py",
        "TO_ANNOUNCE = (Fate.MISSING, Fate.DUE)\n",
        "TO_ANNOUNCE = (Fate.DUE,)\n",
        (
            "unit/test_reconcile.py::test_what_no_ledger_knows_is_missing",
            "integration/test_reconcile.py::test_what_was_never_delivered_is_announced_again",
        ),
    ),
    "young-objects-are-missing": Mutant(
        "pipeline/reconcile.py",
        "        if listed.modified > self._rules.until:\n            return Fate.YOUNG\n",
        "",
        ("unit/test_reconcile.py::test_what_the_listing_tells_is_not_looked_at",),
    ),
    "what-lies-there-is-missing": Mutant(
        "pipeline/reconcile.py",
        "        return Fate.HERE if self._is_here(found) else Fate.MISSING\n",
        "        return Fate.MISSING\n",
        ("unit/test_reconcile.py::test_what_lies_in_the_folder_is_here",),
    ),
    "delivered-is-announced-again": Mutant(
        "pipeline/reconcile.py",
        "        if self._ledgers.has(found.delivery_id):\n            return Fate.DELIVERED\n",
        "",
        (
            "unit/test_reconcile.py::test_what_the_listing_tells_is_not_looked_at",
            "unit/test_reconcile.py::test_every_version_of_a_key_is_a_drop",
        ),
    ),
}
