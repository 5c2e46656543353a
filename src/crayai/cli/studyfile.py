"""A study as people write it: a TOML file, options of the command line, or both."""

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from crayai.hpo.engine.budget import Budget
from crayai.hpo.engine.clusters import MANAGERS, Cluster, manager_here
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.engine.interrupts import GRACE_SECONDS
from crayai.hpo.engine.policies import KEYS as POLICY_KEYS
from crayai.hpo.engine.policies import POLICIES
from crayai.hpo.engine.study import STRATEGIES, StrategySettings, Study, nearest, strategy_arguments
from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.launch.urika import Urika
from crayai.hpo.launch.wrapping import surroundings
from crayai.hpo.space.parse import space_from_lines, space_from_table
from crayai.hpo.strategy.base import check_at_least

KEYS: Mapping[str, Mapping[str, str]] = {
    "study": {
        "command": "the program, as a shell command; hyperparameters are appended, or stand where @{flag} does",
        "goal": "minimize or maximize the figure of merit",
        "fom": "what stands before the figure of merit on standard output",
        "seed": "decides every random draw; left out: drawn",
        "repeats": "evaluate each point so often, for a noisy figure of merit; the mean counts",
        "time_limit_minutes": "of one evaluation",
        "src_path": "a directory whose entries each evaluation finds in a directory of its own",
        "checkpoint": "the directory of checkpoints, left out: DIR's own; with it a genetic search trains on from them",
        "keep": "which checkpoints are left at the end: best, frontier (what a longer study goes on from) or all",
        "checkpoint_gib": "what checkpoints may take of the file system at any time",
        "checkpoint_files": "how many files and directories they may be",
        "keep_output": "keep the output of every evaluation, not only of failed ones and the best",
        "max_evaluations": "stop after so many; the study can be gone on with, as with the limits below",
        "max_wall_minutes": "stop when drivers have worked for so long",
        "max_node_hours": "stop when evaluations have used so many nodes times hours",
        "target_fom": "stop when a figure of merit is as good",
        "grace_seconds": "how long after SIGTERM or SIGUSR1 the driver must have ended",
    },
    "strategy": {
        "name": "genetic, random, grid or pbt",
        "generations": "genetic: rounds",
        "pop_size": "genetic, pbt: individuals per deme",
        "num_demes": "genetic, pbt: subpopulations",
        "mutation_rate": "genetic: per hyperparameter",
        "crossover_rate": "genetic: per hyperparameter",
        "migration_interval": "genetic: generations between migrations",
        "windows": "pbt: how often each member trains between two decisions",
        "quantile": "pbt: share of a deme that is replaced at a decision, and that it is replaced from",
        "interval": "pbt: windows between two decisions",
        "slowdown": "pbt: how many times less often each further deme decides",
        "lag": "pbt: windows that a decision looks back, so that no member waits for the slowest; 0: all wait for all",
        "exploit": "pbt: truncation (the worst take over from the best) or tournament",
        "perturbation": "pbt: standard deviation of a step in the unit interval",
        "resample_rate": "pbt: probability that a hyperparameter is drawn anew instead",
        "num_iters": "random: evaluations, the default point included",
        "grid_size": "grid: points a range",
        "chunk_size": "grid: points that make one generation in the records",
    },
    "launcher": {
        "name": "local; slurm, pbs, torque, sge, or wlm for the workload manager that is here; urika; dask",
        "urika_args": "urika: more arguments of run_training",
        "dask_address": "dask: of the scheduler; without it and a file, workers on this machine are started",
        "dask_scheduler_file": "dask: the file that the scheduler has written",
        "dask_resources": "dask: what an evaluation takes of a worker's resources, such as GPU=1",
        "slots": "evaluations at once; left out: one a core, or as many as the nodes take",
        "gpus": "GPUs for the slots to share; left out: all that are visible; []: left alone",
        "container": "the image in which evaluations run, as engine:image, or a table { image = '…', binds = […], … }",
        "conda_env": "the Conda environment in which they run, by name or path, or the path of a virtual environment",
        "cores_per_eval": "bind each evaluation to so many cores",
        "mode": "slurm: steps in an allocation that is held, or jobs, one for each evaluation",
        "nodes": "clusters: for all evaluations together",
        "nodes_per_eval": "clusters: for one evaluation",
        "evals_per_node": "in an allocation: how many evaluations share a node",
        "alloc_args": "arguments of salloc, or of sbatch with mode = jobs; of qsub",
        "alloc_jobid": "slurm, urika: an allocation to use; left out: the one that crayai runs in, else one is made",
        "launch_args": "arguments of srun, or of mpiexec",
        "max_allocations": "slurm: how many may be made one after another, when one ends before the study",
        "poll_seconds": "clusters: how often it is asked about jobs, at most",
        "job_minutes": "run --as-job: limit of time of the job that is the driver, by default 60",
        "job_args": "run --as-job: more arguments of the command that submits it",
    },
    "failures": {key: f"what follows, by default '{POLICIES[cause]}'" for key, cause in POLICY_KEYS.items()},
}
"""Every key of a study file but those of [params], with its meaning."""

_OWN_KEYS = {"urika_args", "dask_address", "dask_scheduler_file", "dask_resources"}
"""Keys of [launcher] that begin with the name of the launcher to which they belong."""
_KINDS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("command", "goal", "fom", "src_path", "name", "checkpoint", "keep", "exploit"), (str, "text")),
    **dict.fromkeys(("mode", "alloc_args", "launch_args", "job_args", "conda_env", *_OWN_KEYS), (str, "text")),
    "keep_output": (bool, "true or false"),
    "gpus": (list, "a list"),
}
"""What TOML must give for the keys that nobody else checks."""


_JOB_MINUTES = 60


@dataclass(frozen=True)
class Plan:
    """What `crayai run` is to do."""

    study: Study
    evaluation: EvaluationSettings
    budget: Budget
    job_minutes: int
    job_args: str


def read_plan(
    file: Path | None, options: Mapping[str, Mapping[str, Any]], params: Sequence[str], command: Sequence[str]
) -> Plan:
    """Return the plan of a study file, overridden by options.

    Args:
        file: The study file; None: options alone.
        options: Values by table and key; None is left out.
        params: Hyperparameters as lines; they take the place of the file's.
        command: The words of the command; one word is a shell command. It takes the place of the file's.

    Raises:
        CrayaiError: A key or value that cannot be, with the nearest known one.
    """
    tables = _read(file) if file else {}
    _check(file, tables)
    for table, values in options.items():
        given = {key: value for key, value in values.items() if value is not None}
        tables[table] = {**tables.get(table, {}), **given}
    if command:
        tables["study"]["command"] = command[0] if len(command) == 1 else shlex.join(command)
    if not tables["study"].get("command", "").strip():
        where = f"{file}: " if file else ""
        raise SettingsError(f"{where}there is no command: set command in [study], or append it behind --")
    space = space_from_lines(params) if params else space_from_table(tables.get("params", {}))
    return _plan(tables, space, file)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the study file {str(file)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the study file {str(file)!r} is not TOML: {error}") from error


def _check(file: Path | None, tables: Mapping[str, Any]) -> None:
    where = f"{file}: " if file else ""
    for table, values in tables.items():
        if table not in (*KEYS, "params"):
            raise SettingsError(f"{where}unknown table [{table}]{nearest(table, [*KEYS, 'params'])}")
        if not isinstance(values, Mapping):
            raise SettingsError(f"{where}[{table}] must be a table, got {values!r}")
        for key in values if table in KEYS else []:
            if key not in KEYS[table]:
                raise SettingsError(f"{where}unknown key {key!r} in [{table}]{nearest(key, list(KEYS[table]))}")
            kind, name = _KINDS.get(key, (object, ""))
            if not isinstance(values[key], kind):
                raise SettingsError(f"{where}{key} in [{table}] must be {name}, got {values[key]!r}")


def _plan(tables: Mapping[str, Any], space: Any, file: Path | None) -> Plan:
    study, launcher = dict(tables["study"]), dict(tables.get("launcher", {}))
    urika, dask = _urika(launcher), _dask(launcher)
    cluster = _cluster(launcher) if urika is None and dask is None else None
    job_minutes, job_args = launcher.pop("job_minutes", _JOB_MINUTES), launcher.pop("job_args", "")
    check_at_least(1, job_minutes=job_minutes)
    source = study.pop("src_path", None)
    checkpoint = study.pop("checkpoint", "")
    container, environment = surroundings(launcher.pop("container", None), launcher.pop("conda_env", ""))
    evaluation = EvaluationSettings(
        container=container,
        environment=environment,
        time_limit_minutes=study.pop("time_limit_minutes", None),
        keep_output=study.pop("keep_output", False),
        checkpoint=checkpoint,
        keep=study.pop("keep", "best"),
        checkpoint_gib=study.pop("checkpoint_gib", None),
        checkpoint_files=study.pop("checkpoint_files", None),
        source=None if source is None else Path(source).absolute(),
        gpus=None if (gpus := launcher.pop("gpus", None)) is None else [str(gpu) for gpu in gpus],
        cluster=cluster,
        urika=urika,
        dask=dask,
        failures=tables.get("failures", {}),
        grace_seconds=study.pop("grace_seconds", GRACE_SECONDS),
        **launcher,
    )
    budget = Budget(**{field.name: study.pop(field.name, None) for field in fields(Budget)})
    strategy = _strategy(dict(tables.get("strategy", {})), study.pop("repeats", 1), file, trains_on=bool(checkpoint))
    return Plan(Study(space=space, strategy=strategy, **study), evaluation, budget, job_minutes, job_args)


def _urika(launcher: dict[str, Any]) -> Urika | None:
    """Take out of the keys of [launcher] what makes an Urika, and return it; None: it is not wanted."""
    if launcher.get("name") != "urika":
        return None
    names = {key: key for key in ("nodes", "nodes_per_eval", "alloc_jobid")} | {"urika_args": "arguments"}
    urika = Urika(**{names[key]: launcher.pop(key) for key in names if key in launcher})
    _refuse_others(launcher)
    return urika


def _dask(launcher: dict[str, Any]) -> Dask | None:
    """Take out of the keys of [launcher] what makes a cluster of Dask, and return it; None: it is not wanted."""
    if launcher.get("name") != "dask":
        return None
    names = {"dask_address": "address", "dask_scheduler_file": "scheduler_file", "dask_resources": "resources"}
    dask = Dask(**{names[key]: launcher.pop(key) for key in names if key in launcher})
    _refuse_others(launcher)
    return dask


def _refuse_others(launcher: dict[str, Any]) -> None:
    """Take out the name of the launcher, and refuse what is left of other launchers' keys."""
    name = launcher.pop("name")
    for key in launcher:
        if key in _OWN_KEYS or key in {field.name for field in fields(Cluster)}:
            raise SettingsError(f"{key} does not belong to the launcher {name!r}, which this study uses")


def _cluster(launcher: dict[str, Any]) -> Cluster | None:
    """Take out of the keys of [launcher] what makes a cluster, and return it; None: this machine."""
    name = launcher.pop("name", "local")
    for key in _OWN_KEYS & launcher.keys():
        raise SettingsError(f"{key} belongs to the launcher {key.partition('_')[0]!r}, this study uses {name!r}")
    given = {field.name: launcher.pop(field.name) for field in fields(Cluster) if field.name in launcher}
    if name == "local":
        if given:
            raise SettingsError(f"{next(iter(given))} belongs to the launcher 'slurm', this study uses 'local'")
        return None
    if name not in (*MANAGERS, "wlm"):
        known = ["local", "wlm", "urika", "dask", *MANAGERS]
        raise SettingsError(f"launcher must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}")
    return Cluster(manager=manager_here(None if name == "wlm" else name, f"launcher {name!r}"), **given)


def _strategy(arguments: dict[str, Any], repeats: int, file: Path | None, *, trains_on: bool) -> StrategySettings:
    name = arguments.pop("name", "genetic")
    for argument in arguments if name in STRATEGIES else ():
        if argument not in strategy_arguments(name):
            owner = next(other for other in STRATEGIES if argument in strategy_arguments(other))
            where = f"{file}: " if file else ""
            raise SettingsError(f"{where}{argument} belongs to the strategy {owner!r}, this study uses {name!r}")
    if trains_on and name == "genetic":
        arguments["trains_on"] = True
    return StrategySettings(name=name, arguments=arguments, repeats=repeats)
