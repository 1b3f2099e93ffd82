"""`seaway dev`: the broker and every service on this machine, as child processes.

Read `supervisor` first; it tells the story. `child` is one program, `watch` and `watcher` see to
it that none outlives us, `folder` holds what is kept, `control` answers other commands.
"""
