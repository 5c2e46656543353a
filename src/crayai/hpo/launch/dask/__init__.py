"""Each evaluation a task of Dask."""
