"""What the doctor says of the cluster on which a study is to run, before anything is submitted."""

import math
import shlex
from collections.abc import Iterator, Sequence

from crayai.hpo.engine.clusters import Cluster
from crayai.hpo.engine.estimate import span
from crayai.hpo.engine.findings import Check, Verdict, some
from crayai.hpo.launch import slurm_site as site
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.slurm_site import Partition

_NAME = "cluster"


def check_site(cluster: Cluster, time_limit_seconds: float | None) -> Iterator[Check]:
    """Compare what `cluster` asks for with what there is; evaluations may have a limit of time."""
    if cluster.manager != "slurm":
        yield Check(_NAME, Verdict.OK, f"each evaluation is a job of {cluster.manager}")
        return
    arguments = shlex.split(cluster.alloc_args)
    answer = ask(site.ask_partitions())
    known = site.partitions(answer)
    if not known:
        said = answer.err or answer.out
        yield Check(
            _NAME, Verdict.PROBLEM, f"Slurm does not say which partitions there are: {said}", "ask those who run it"
        )
        return
    if cluster.alloc_jobid:
        yield Check(_NAME, Verdict.OK, f"Slurm answers; evaluations are steps of the job {cluster.alloc_jobid}")
        return
    wanted = site.partition_wanted(arguments)
    here = [one for one in known if (one.name == wanted if wanted else one.is_default)]
    if not here:
        names = some(list(dict.fromkeys(one.name for one in known)))
        text = f"there is no partition {wanted!r}" if wanted else "there is no default partition"
        yield Check("partition", Verdict.PROBLEM, text, f"name one in alloc_args (-p NAME): there are {names}")
        return
    yield from _check_nodes(cluster, here)
    yield from _check_time(cluster, here[0], site.seconds_wanted(arguments), time_limit_seconds)
    yield from _check_gpus(cluster, here)
    yield from _check_queue(cluster)


def _check_nodes(cluster: Cluster, here: Sequence[Partition]) -> Iterator[Check]:
    """Compare the nodes of the partition with those that are held at once, or that one evaluation needs."""
    there, idle = sum(one.nodes for one in here), sum(one.idle for one in here)
    kinds = "; ".join(
        f"{one.nodes} of {one.cpus} CPUs, {one.memory_mb} MB" + (f", {one.gpus} GPUs" if one.gpus else "")
        for one in here
    )
    text = f"{here[0].name}: {there} nodes, {idle} of them idle ({kinds})"
    least = cluster.nodes if cluster.mode == "steps" else cluster.nodes_per_eval
    if not here[0].is_up:
        yield Check("partition", Verdict.PROBLEM, f"{text}; it is down", "name another one in alloc_args (-p NAME)")
    elif least > there:
        name = "nodes" if cluster.mode == "steps" else "nodes_per_eval"
        yield Check("partition", Verdict.PROBLEM, f"{text}, and {name} = {least}", f"set {name} to {there} at most")
    else:
        yield Check("partition", Verdict.OK, text)


def _check_time(
    cluster: Cluster, here: Partition, wanted: float | None, time_limit_seconds: float | None
) -> Iterator[Check]:
    """Compare the limit of time that is asked for with the greatest one."""
    what = "the allocation" if cluster.mode == "steps" else "each job"
    if wanted is None and cluster.mode == "jobs" and time_limit_seconds is not None:
        wanted = time_limit_seconds
    limit = here.default_seconds if wanted is None else wanted
    if limit > here.most_seconds:
        text = f"{what} asks for {_span(limit)}, and {here.name} grants {_span(here.most_seconds)} at most"
        yield Check(
            "limit of time",
            Verdict.PROBLEM,
            text,
            f"ask for less in alloc_args, or for another partition than {here.name}",
        )
    elif wanted is None and limit < math.inf:
        text = f"{what} asks for none, and so gets the default one of {here.name}: {_span(limit)}"
        yield Check("limit of time", Verdict.NOTE, text, "say how long in alloc_args: -t HOURS:00:00")
    else:
        yield Check("limit of time", Verdict.OK, f"{what} has {_span(limit)}")


def _check_gpus(cluster: Cluster, here: Sequence[Partition]) -> Iterator[Check]:
    """Say that there are GPUs which nobody asks for."""
    most = max(one.gpus for one in here)
    if most and not site.wants_gpus(shlex.split(f"{cluster.alloc_args} {cluster.launch_args}")):
        each = max(1, most // cluster.evals_per_node)
        remedy = f'if the program uses them: alloc_args = "--gres=gpu:{most}"' + (
            f', launch_args = "--gres=gpu:{each}"' if cluster.mode == "steps" else ""
        )
        yield Check("GPUs", Verdict.NOTE, f"nodes of {here[0].name} have {most}, and the study asks for none", remedy)


def _check_queue(cluster: Cluster) -> Iterator[Check]:
    """Say which limits jobs meet, and whether what has become of them can be looked up."""
    settings = ask(site.ask_settings())
    together, most = (site.setting(settings, name) for name in ("MaxArraySize", "MaxJobCount"))
    keeps = site.setting(settings, "AccountingStorageType") not in ("", "accounting_storage/none", "(null)")
    accounting = "accounting is there" if keeps else "there is no accounting, so ends are known by the queue alone"
    if cluster.mode == "jobs" and most.isdigit() and cluster.slots > int(most):
        text = f"the queue holds {most} jobs of all users, and {cluster.slots} are to be there at once"
        yield Check("queue", Verdict.NOTE, text, "set slots to less")
    else:
        yield Check("queue", Verdict.OK, f"at most {together} jobs in an array, {most} in the queue; {accounting}")


def _span(seconds: float) -> str:
    return "no limit" if seconds == math.inf else span(seconds)
