"""The networks of the teachers: one file a family, built from recorded arguments by `config`."""
