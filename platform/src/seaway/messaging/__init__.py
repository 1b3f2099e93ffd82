"""The options of .proto files, as generated code."""
