"""Facts about real AWS that the emulator does not enforce, as checks over plain data."""
