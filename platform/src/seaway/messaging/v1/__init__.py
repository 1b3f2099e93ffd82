"""Version 1: made by `make gen` from seaway/messaging/v1/options.proto."""
