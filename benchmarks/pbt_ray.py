"""Ray Tune's population based training on the tasks of pbt_tasks.py, in a process and an environment of its own.

    python -m venv ray && ray/bin/pip install "ray[tune]" scikit-learn
    ray/bin/python benchmarks/pbt_ray.py --tasks digits noisy --seeds 1 2 3

Population, windows, epochs and quantile are those of the other searches, everything else is Ray's default. Its steps by
a factor of 0.8 or 1.2 do not know the ranges, so values are brought back to them. Prints a line of JSON a search: task,
seed, figure of merit and test error of the best model, windows trained, seconds.
"""

import argparse
import json
import logging
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1000"

import numpy as np
import pbt_tasks as tasks

try:
    import ray
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining
    from ray.tune.search.basic_variant import BasicVariantGenerator
except ImportError:
    sys.exit("ray[tune] is not installed here")

CORES = 2
DIVERGED = 1.0
"""The figure of merit that Ray is told where there is none."""


class Training(tune.Trainable):  # type: ignore[misc]
    """A member; a step of it is a window."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin from scratch."""
        self._seed = [config["split"], config["member"]]
        self._model = tasks.fresh(config["task"], config["split"], hash_of([*self._seed, 0]))

    def step(self) -> dict[str, float]:
        """Train for a window."""
        c = self.config
        seed = hash_of([*self._seed, self.iteration + 1])
        scores = tasks.train(self._model, c["task"], c["split"], seed, c["epochs"], c)
        with Path(c["notes"]).open("a") as notes:
            notes.write(f"{scores.fom!r} {scores.test_error!r}\n")
        return {"fom": DIVERGED if math.isnan(scores.fom) else scores.fom}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the model."""
        self._model.save(Path(checkpoint_dir, "model"))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on with a model."""
        self._model = tasks.Model.load(Path(checkpoint_dir, "model"))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another member, without a new process."""
        self.setup(new_config)
        return True


def hash_of(numbers: list[int]) -> int:
    """Return a seed that depends on all of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def domain(low: float, high: float, scale: str) -> Any:
    """Return a range as Ray wants it."""
    if "int" in scale:
        return tune.lograndint(int(low), int(high) + 1)
    return tune.loguniform(low, high) if "log" in scale else tune.uniform(low, high)


def inside(config: dict[str, Any]) -> dict[str, Any]:
    """Bring values back to their ranges."""
    for name, (low, high, scale) in tasks.RANGES.items():
        value = min(max(config[name], low), high)
        config[name] = int(value) if "int" in scale else value
    return config


def search(task: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Run one search; return what it found."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Ray's scheduler draws from the global generators
    mutations = {name: domain(*bounds) for name, bounds in tasks.RANGES.items()}
    with tempfile.TemporaryDirectory(prefix="pbt_ray.") as scratch:
        notes = Path(scratch, "notes")
        scheduler = PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=1, quantile_fraction=given.quantile,
            hyperparam_mutations=mutations, custom_explore_fn=inside, log_config=False,
        )  # fmt: skip
        common = {"task": task, "split": seed, "epochs": given.epochs, "notes": str(notes)}
        space = {**common, **mutations, "member": tune.grid_search(list(range(given.members)))}
        tuner = tune.Tuner(
            tune.with_resources(Training, {"cpu": CORES / given.members}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="fom", mode="min", scheduler=scheduler, reuse_actors=True,
                search_alg=BasicVariantGenerator(random_state=seed),
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0, stop={"training_iteration": given.windows}),
        )  # fmt: skip
        begin = time.perf_counter()
        tuner.fit()
        seconds = time.perf_counter() - begin
        rows = [[float(word) for word in line.split()] for line in notes.read_text().splitlines()]
    fom, test_error = min((row for row in rows if not math.isnan(row[0])), key=lambda row: row[0])
    return {"task": task, "seed": seed, "fom": fom, "test_error": test_error, "windows": len(rows), "seconds": seconds}


def main() -> None:
    """Run the searches, a line of output each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=tasks.TASKS, default=list(tasks.TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--quantile", type=float, default=0.25)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(
        num_cpus=CORES, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}}
    )
    for task in given.tasks:
        for seed in given.seeds:
            print(json.dumps(search(task, seed, given)), flush=True)


if __name__ == "__main__":
    main()
