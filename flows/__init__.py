"""The sentences: one flow a file, one config its only parameter, and the command line."""
