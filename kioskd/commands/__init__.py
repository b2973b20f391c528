"""The subcommands: one thin door each."""
