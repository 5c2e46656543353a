"""Hyperparameter search for any training command: ``from crayai import hpo``."""

__version__ = "0.1.0"
