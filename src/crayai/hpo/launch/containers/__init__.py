"""Containers around a program: what engines are, and what they run, see and keep."""
