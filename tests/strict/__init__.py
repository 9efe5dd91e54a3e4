"""S3 and SQS as AWS documents them, where emulators are lax; with faults from one seed and a judge at every effect.

`python -m tests.strict --folder F --port P --seed S`. It is told what to do, and asked, at `/_strict/…` of its own
address (see control). State lives in memory and large bodies in the folder: nothing survives its end, so it is never
killed; what dies in a test is the program.
"""
