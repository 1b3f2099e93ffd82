"""The commands of `seaway`, a file for each; seaway.cli loads only the one that is called."""
