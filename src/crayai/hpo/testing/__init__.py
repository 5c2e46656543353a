"""Shipped fakes and conformance suites, for those who add a strategy, a launcher or a log."""
