"""What each process does: one module a role, `run(context, link, stop)`, where worker, folders and clients meet."""
