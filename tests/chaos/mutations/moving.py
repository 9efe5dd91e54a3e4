"""How files move: what the kernel is asked, the folders, and the way to another file system."""

from tests.chaos.mutations.mutant import Mutant

MUTANTS = {
    "replacing-move": Mutant(
        "pipeline/kernel.py",
        "        _renameat2(source_fd, source, target_fd, target)\n        return\n",
        "        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)\n        return\n",
        ("unit/test_folders.py::test_a_move_never_replaces",),
    ),
    "replacing-link": Mutant(
        "pipeline/kernel.py",
        "    os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)\n",
        "    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)\n    return\n",
        ("unit/test_folders.py::test_a_move_never_replaces",),
    ),
    "unbelieved-probe": Mutant(
        "pipeline/kernel.py",
        "    return False  # it replaced the target: a file system that ignores the flag",
        "    return True",
        ("unit/test_folders.py::test_a_file_system_that_ignores_the_flag",),
    ),
    "link-not-durable": Mutant(
        "pipeline/kernel.py",
        "    os.fsync(target_fd)  # else a power cut may keep the unlink and forget the link\n",
        "",
        ("unit/test_folders.py::test_a_link_is_durable_before_the_unlink",),
    ),
    "unlink-of-whatever-is-there": Mutant(
        "pipeline/kernel.py",
        "        if any(os.path.samestat(now, one) for one in linked):\n",
        "        if now:\n",
        ("unit/test_folders.py::test_a_file_that_takes_the_place_of_the_moved_one_stays",),
    ),
    "links-followed": Mutant(
        "pipeline/kernel.py",
        "    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK\n",
        "    flags |= os.O_CLOEXEC | os.O_NONBLOCK\n",
        ("unit/test_folders.py::test_nothing_is_followed",),
    ),
    "openat2-without-its-flags": Mutant(
        "pipeline/kernel.py",
        "_RESOLVE = 0x08 | 0x04 | 0x02  # BENEATH | NO_SYMLINKS | NO_MAGICLINKS",
        "_RESOLVE = 0",
        ("unit/test_folders.py::test_nothing_is_followed",),
    ),
    "folders-followed": Mutant(
        "pipeline/kernel.py",
        "os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)",
        "os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)",
        ("unit/test_folders.py::test_nothing_is_followed",),
    ),
    "dots-lead-out": Mutant(
        "pipeline/kernel.py",
        '    if ".." in path.split("/"):\n',
        "    if not path:\n",
        ("unit/test_folders.py::test_no_move_leaves_its_folder",),
    ),
    "no-reserved-room": Mutant(
        "pipeline/kernel.py",
        "    if _fallocate is None or size <= 0:\n",
        "    if _fallocate is not None:\n",
        ("unit/test_room.py::test_its_room_is_reserved",),
    ),
    "lease-kept": Mutant(
        "pipeline/kernel.py",
        "    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)\n",
        "",
        ("unit/test_folders.py::test_a_writer_is_noticed",),
    ),
    "lease-not-heard": Mutant(
        "pipeline/kernel.py",
        "        return True if error.errno == errno.EAGAIN else None\n",
        "        return False if error.errno == errno.EAGAIN else None\n",
        (
            "unit/test_folders.py::test_a_writer_is_noticed",
            "unit/test_crossing.py::test_a_file_with_a_writer_is_not_copied",
        ),
    ),
    "any-file-system-tells": Mutant(
        "pipeline/kernel.py",
        "    return _LEASE_FILE_SYSTEMS.get(buffer[0] & 0xFFFFFFFF) if",
        '    return _LEASE_FILE_SYSTEMS.get(buffer[0] & 0xFFFFFFFF, "any") if',
        ("unit/test_folders.py::test_an_unknown_file_system_is_not_believed",),
    ),
    "no-flock": Mutant(
        "pipeline/kernel.py",
        "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        (
            "unit/test_folders.py::test_a_lock_is_exclusive",
            "unit/test_spool.py::test_only_one_takes_a_file",
            "unit/test_aws_journal.py::test_a_record_in_hand_is_nobody_elses",
        ),
    ),
    "fsync-path-does-nothing": Mutant(
        "pipeline/kernel.py",
        "        os.fsync(descriptor)\n",
        "        pass\n",
        (
            "unit/test_dead_letters.py::test_a_kept_message_is_durable",
            "unit/test_aws_journal.py::test_a_record_is_durable_under_its_name",
        ),
    ),
    "own-folder-behind-a-link": Mutant(
        "pipeline/folders.py",
        "_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC\n",
        (
            "unit/test_folders.py::test_a_link_as_a_component_is_not_entered",
            "unit/test_landing.py::test_a_planted_link_is_refused",
            "unit/test_landing.py::test_a_component_taken_by_the_other_kind",
        ),
    ),
    "own-folder-for-everybody": Mutant(
        "pipeline/folders.py",
        "_FOLDER_MODE, _OWN_FOLDER_MODE = 0o750, 0o700\n",
        "_FOLDER_MODE, _OWN_FOLDER_MODE = 0o777, 0o777\n",
        ("unit/test_folders.py::test_folders_are_not_everybodys",),
    ),
    "new-folders-not-durable": Mutant(
        "pipeline/folders.py",
        "                    if sync and self.durable:\n",
        "                    if sync and self.durable and not made:\n",
        ("unit/test_folders.py::test_a_new_folder_is_durable",),
    ),
    "folders-of-others-not-durable": Mutant(
        "pipeline/folders.py",
        "                    if sync and self.durable:\n",
        "                    if sync and self.durable and made:\n",
        (
            "unit/test_folders.py::test_a_folder_that_is_there_is_durable_too",
            "unit/test_folders.py::test_a_link_is_made_in_a_folder_that_stays",
            "unit/test_spool.py::test_a_failed_file_is_durable_before_it_is_told",
        ),
    ),
    "folder-made-again-is-known": Mutant(
        "pipeline/folders.py",
        "        if made or mark not in self._lasting or not self.facilities.noreplace:\n",
        "        if mark not in self._lasting or not self.facilities.noreplace:\n",
        ("unit/test_folders.py::test_a_folder_that_is_made_again_is_durable",),
    ),
    "folder-of-a-link-is-known": Mutant(
        "pipeline/folders.py",
        "        if made or mark not in self._lasting or not self.facilities.noreplace:\n",
        "        if made or mark not in self._lasting:\n",
        ("unit/test_folders.py::test_a_link_is_made_in_a_folder_that_stays",),
    ),
    "folders-above-not-synced": Mutant(
        "pipeline/folders.py",
        "        for head in sorted({head for path in paths for head in folders_above(path)}):\n",
        "        for head in sorted({next(folders_above(path)) for path in paths}):\n",
        (
            "unit/test_folders.py::test_a_folder_that_is_there_is_durable_too",
            "unit/test_offers.py::test_what_another_process_moves_later_is_durable_before_it_is_offered",
            "unit/test_spool.py::test_a_new_number_is_durable",
        ),
    ),
    "link-in-another-folder-holds-up": Mutant(
        "pipeline/folders.py",
        "                if error.errno not in _NOTHING_THERE:\n",
        "                if error.errno != errno.ENOENT:\n",
        ("unit/test_offers.py::test_a_link_in_another_folder_holds_up_nothing",),
    ),
    "folder-not-synced": Mutant(
        "pipeline/folders.py",
        "                    os.fsync(place.fd)\n",
        "                    pass\n",
        (
            "unit/test_claims.py::test_a_claim_that_goes_beside_is_durable_too",
            "unit/test_spool.py::test_a_new_number_is_durable",
            "unit/test_spool.py::test_a_failed_file_is_durable_before_it_is_told",
        ),
    ),
    "removed-folder-not-noticed": Mutant(
        "pipeline/folders.py",
        "            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))\n",
        "            return os.path.exists(self.path) or True\n",
        (
            "unit/test_watcher.py::test_a_removed_folder_is_noticed",
            "unit/test_watcher.py::test_a_watcher_of_a_removed_folder_ends",
        ),
    ),
    "one-files-error-pauses-all": Mutant(
        "pipeline/folders.py",
        "    if isinstance(error, OSError) and error.errno not in _SIDE_TROUBLE and os.access(folder.path, os.W_OK):\n",
        "    if not error:\n",
        ("unit/test_poller.py::test_one_files_own_error_does_not_pause_the_others",),
    ),
    "full-disk-pauses-nobody": Mutant(
        "pipeline/folders.py",
        "_SIDE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, *TOO_MANY_OPEN)\n",
        "_SIDE_TROUBLE = TOO_MANY_OPEN\n",
        ("unit/test_poller.py::test_a_full_disk_pauses_the_side",),
    ),
    "any-taken-name-is-our-own-move": Mutant(
        "pipeline/moves.py",
        "                    if _same_file(origin, place.fd, place.name):\n",
        "                    if place.fd:\n",
        (
            "unit/test_folders.py::test_a_move_never_replaces",
            "unit/test_spool.py::test_a_finished_file_never_replaces_one_of_the_name",
        ),
    ),
    "a-taken-name-is-an-error": Mutant(
        "pipeline/moves.py",
        "                    wanted = with_name(wanted, next_version(place.name, os.listdir(place.fd)))\n",
        "                    raise\n",
        (
            "unit/test_folders.py::test_a_file_system_that_takes_two_names_for_one",
            "unit/test_folders.py::test_versions_are_counted_on",
        ),
    ),
    "unlink-before-the-link-is-durable": Mutant(
        "pipeline/moves.py",
        "    os.fsync(place.fd)  # the process that made the link may have ended before it came to this\n",
        "",
        ("unit/test_folders.py::test_a_link_is_durable_before_the_unlink",),
    ),
    "interrupted-move-stays": Mutant(
        "pipeline/moves.py",
        "    if status is None or not is_regular(status) or status.st_nlink == 1:\n",
        "    if status is None or status.st_nlink:\n",
        (
            "unit/test_spool.py::test_an_interrupted_finish_is_not_sent_again",
            "unit/test_spool.py::test_an_interrupted_claim_of_a_sent_file_is_finished",
        ),
    ),
    "interrupted-arrival-stays": Mutant(
        "pipeline/moves.py",
        "    if status is None or status.st_nlink == 1 or not source.beside(path):\n",
        "    if status is None or status.st_nlink or not source.beside(path):\n",
        ("unit/test_spool.py::test_a_file_is_taken_with_one_name",),
    ),
    "second-name-comes-back": Mutant(
        "pipeline/moves.py",
        "            os.fsync(origin.fd)  # else a power cut brings it back after somebody was told\n",
        "",
        ("unit/test_spool.py::test_the_second_name_of_a_claim_is_gone_for_good_before_anybody_is_told",),
    ),
    "reason-not-durable": Mutant(
        "pipeline/moves.py",
        "            os.fsync(file.fileno())\n        os.fsync(place.fd)\n",
        "        os.fsync(place.fd)\n",
        ("unit/test_spool.py::test_a_failed_file_is_durable_before_it_is_told",),
    ),
    "name-of-a-reason-not-durable": Mutant(
        "pipeline/moves.py",
        "            os.fsync(file.fileno())\n        os.fsync(place.fd)\n",
        "            os.fsync(file.fileno())\n",
        ("unit/test_spool.py::test_a_failed_file_is_durable_before_it_is_told",),
    ),
    "half-a-reason": Mutant(
        "pipeline/moves.py",
        "        os.unlink(place.name, dir_fd=place.fd)\n        raise\n",
        "        raise\n",
        ("unit/test_spool.py::test_a_reason_that_cannot_be_written_leaves_nothing",),
    ),
    "copies-that-nobody-asked-for": Mutant(
        "pipeline/moves.py",
        "            if error.errno != errno.EXDEV or not target.takes_copies:\n",
        "            if error.errno != errno.EXDEV:\n",
        ("unit/test_crossing.py::test_it_is_refused_where_nobody_asked_for_it",),
    ),
    "copy-not-durable": Mutant(
        "pipeline/crossing.py",
        "    if target.durable:\n        os.fsync(copy)\n",
        "",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "name-of-a-copy-not-durable": Mutant(
        "pipeline/crossing.py",
        "                    os.fsync(place.fd)\n                    os.fsync(record.own.fd)\n",
        "                    os.fsync(record.own.fd)\n",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "folder-a-copy-left-not-durable": Mutant(
        "pipeline/crossing.py",
        "                    os.fsync(place.fd)\n                    os.fsync(record.own.fd)\n",
        "                    os.fsync(place.fd)\n",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "removed-source-not-durable": Mutant(
        "pipeline/crossing.py",
        "    source.sync({move.path})\n    record.remove()\n    return path\n",
        "    record.remove()\n    return path\n",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "taken-back-not-durable": Mutant(
        "pipeline/crossing.py",
        "        if target.durable:\n            os.fsync(record.own.fd)\n    record.discard()\n",
        "    record.discard()\n",
        ("unit/test_crossing.py::test_a_move_that_is_taken_back_is_durable_before_its_record_goes",),
    ),
    "ended-later-not-durable": Mutant(
        "pipeline/crossing.py",
        "    target.sync({move.target})\n    for source",
        "    for source",
        ("unit/test_crossing.py::test_a_move_that_is_ended_later_is_durable_before_its_source_goes",),
    ),
    "replacing-copy": Mutant(
        "pipeline/crossing.py",
        "                kernel.rename_noreplace(record.own.fd, record.copy, place.fd, place.name, target.facilities)\n",
        "                os.rename(record.copy, place.name, src_dir_fd=record.own.fd, dst_dir_fd=place.fd)\n",
        ("unit/test_crossing.py::test_nothing_is_replaced",),
    ),
    "record-after-the-name": Mutant(
        "pipeline/crossing.py",
        "                record.write(move)\n"
        "                kernel.rename_noreplace(record.own.fd, record.copy, place.fd, place.name, target.facilities)\n",
        "                kernel.rename_noreplace(record.own.fd, record.copy, place.fd, place.name, target.facilities)\n"
        "                record.write(move)\n",
        ("unit/test_crossing.py::test_a_kill_at_any_point_leaves_one_file",),
    ),
    "source-removed-before-the-copy-is-named": Mutant(
        "pipeline/crossing.py",
        "        path = _name_it(record, move, target)\n        if not _remove_source(source, move):\n",
        "        removed = _remove_source(source, move)\n"
        "        path = _name_it(record, move, target)\n"
        "        if not removed:\n",
        ("unit/test_crossing.py::test_a_kill_at_any_point_leaves_one_file",),
    ),
    "changed-source-is-removed": Mutant(
        "pipeline/crossing.py",
        "            if not os.path.samestat(status, os.fstat(fd)) or fingerprint_of(fd) != move.seen:\n"
        "                return False\n"
        "            _refuse_changed(fd, move)\n",
        "            if not status:\n                return False\n",
        ("unit/test_crossing.py::test_a_file_that_changes_stays",),
    ),
    "written-source-is-copied": Mutant(
        "pipeline/crossing.py",
        "    if kernel.is_being_written(fd):\n",
        "    if not move:\n",
        ("unit/test_crossing.py::test_a_file_with_a_writer_is_not_copied",),
    ),
    "mounted-inside-is-believed": Mutant(
        "pipeline/crossing.py",
        "    if source.facilities.lease and not kernel.tells_writers(fd):\n",
        "    if not fd:\n",
        ("unit/test_crossing.py::test_what_is_mounted_inside_is_not_believed",),
    ),
    "copy-fills-the-disk": Mutant(
        "pipeline/crossing.py",
        "    if room.f_blocks and move.seen.size > free:  # some file systems tell nothing\n",
        "    if free < 0:\n",
        ("unit/test_crossing.py::test_a_file_that_does_not_fit_is_not_copied",),
    ),
    "copies-keep-setuid": Mutant(
        "pipeline/crossing.py",
        "_PERMISSIONS = 0o777\n",
        "_PERMISSIONS = 0o7777\n",
        ("unit/test_crossing.py::test_a_file_is_moved_with_its_time_and_permissions",),
    ),
    "cut-off-copies-stay": Mutant(
        "pipeline/crossing.py",
        "        for name in records.names(own):\n            try:\n",
        "        for name in records.names(own) and ():\n            try:\n",
        ("unit/test_start.py::test_a_process_ends_the_moves_that_a_kill_cut_off",),
    ),
    "two-move-one-file": Mutant(
        "pipeline/records.py",
        "            if not kernel.try_lock(fd):\n",
        "            if not fd:\n",
        ("unit/test_crossing.py::test_no_two_move_one_file",),
    ),
    "content-of-a-record-not-durable": Mutant(
        "pipeline/records.py",
        "            os.fsync(self.fd)\n",
        "",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "record-before-its-name": Mutant(
        "pipeline/records.py",
        "            os.fsync(self.own.fd)  # first the names: it must not speak of a copy that a power cut forgets\n"
        "            os.fsync(self.fd)\n",
        "            os.fsync(self.fd)\n            os.fsync(self.own.fd)\n",
        ("unit/test_crossing.py::test_a_durable_move_reaches_the_disk_in_order",),
    ),
    "discarded-record-speaks": Mutant(
        "pipeline/records.py",
        "        os.ftruncate(self.fd, 0)  # else it would say that the copy has its name, once that is gone from here\n",
        "",
        ("unit/test_crossing.py::test_a_kill_while_a_failed_move_is_taken_back",),
    ),
    "no-syncfs": Mutant(
        "pipeline/durability.py",
        "    if _syncfs(fds[0]) != 0:\n",
        "    if not fds:\n",
        ("unit/test_durability.py::test_the_real_call_is_made",),
    ),
    "lost-writes-not-asked-for": Mutant(
        "pipeline/durability.py",
        "    return [None if _sync_file_range(fd, 0, 0, _WAIT_BEFORE) == 0 else _last_error() for fd in fds]\n",
        "    return [None for fd in fds]\n",
        ("unit/test_durability.py::test_the_real_call",),
    ),
    "one-call-for-two-file-systems": Mutant(
        "pipeline/durability.py",
        "    if len({os.fstat(fd).st_dev for fd in fds}) > 1:  # something is mounted inside a folder\n",
        "    if not fds:\n",
        ("unit/test_durability.py::test_files_of_two_file_systems_are_asked_by_themselves",),
    ),
    "no-fsync-of-each": Mutant(
        "pipeline/durability.py",
        "        os.fsync(fd)\n    except",
        "        os.fstat(fd)\n    except",
        (
            "unit/test_durability.py::test_without_the_call_each_file_is_synced",
            "unit/test_claims.py::test_claims_are_durable_target_first",
        ),
    ),
    "failed-fsync-is-durable": Mutant(
        "pipeline/durability.py",
        "    except OSError as error:\n        return error\n",
        "    except OSError:\n        return None\n",
        (
            "unit/test_durability.py::test_a_failed_call_is_put_to_each_file",
            "unit/test_watcher.py::test_one_file_that_cannot_be_made_durable_waits_alone",
        ),
    ),
}
