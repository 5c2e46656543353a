"""Each evaluation a job of a batch system: one engine, and a dialect a system."""
