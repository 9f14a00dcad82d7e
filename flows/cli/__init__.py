"""The command line `active-zero`: one file a command."""
