"""Evaluations as steps on nodes that are held."""
