"""Shared by all commands: argument parser, help, one-sentence errors."""
