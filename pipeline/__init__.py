"""The way of a file, told in ten lines.

1. A file appears in Watch; once no writer holds it, the watcher renames it to QueuedForUpload and offers its name.
2. An uploader locks it, PUTs it to S3 under a key that nothing held before, and announces it on SQS.
3. Only when the queue has accepted the announcement is the file renamed to UploadedToS3.
4. A poller receives the announcement and downloads the object to a file nobody sees.
5. Size and checksum are compared; the file is made durable; the ledger notes what is about to happen.
6. The file gets its name in DownloadedFromS3, which no other file had.
7. Where a command is configured, it is run for the file until it succeeds.
8. Only then is the message deleted.

The folder a file lies in is its state, a rename (between file systems a copy that gets its name) is the transition, and
a listing is the recovery: any process may be killed between any two lines and the next one carries on.
"""
