"""What the doctor says of the cluster on which a study is to run, before anything is submitted."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence

from crayai.hpo.engine.clusters import Cluster
from crayai.hpo.engine.doctor.estimate import span
from crayai.hpo.engine.doctor.findings import Check, Verdict, some
from crayai.hpo.launch.calls import ask
from crayai.hpo.launch.sites import grid_engine, moab, pbs, slurm, torque
from crayai.hpo.launch.sites.site import Partition, QueueLimits, Site

_SITES: Mapping[str, Site] = {
    "slurm": slurm,
    "pbs": pbs,
    "torque": torque,
    "moab": moab,
    "sge": grid_engine,
}


def check_site(cluster: Cluster, time_limit_seconds: float | None) -> Iterator[Check]:
    """Compare what `cluster` asks for with what there is; evaluations may have a limit of time."""
    site = _SITES.get(cluster.manager)
    if site is None:
        yield Check("cluster", Verdict.NOTE, f"nothing here knows how {cluster.manager} is asked for queues and limits")
        return
    arguments = shlex.split(cluster.alloc_args)
    answers = [ask(argv) for argv in site.questions()]
    known = site.partitions(answers)
    if not known:
        said = next((answer.err or answer.out for answer in answers if answer.err or answer.out), "it says nothing")
        text = f"{cluster.manager} does not say which {site.KIND}s there are: {said}"
        yield Check("cluster", Verdict.PROBLEM, text, "ask those who run it")
        return
    if cluster.has_steps and (cluster.alloc_jobid or cluster.manager != "slurm"):
        where = f"the job {cluster.alloc_jobid}" if cluster.alloc_jobid else "the job that we run in"
        yield Check("cluster", Verdict.OK, f"{cluster.manager} answers; evaluations are steps of {where}")
        return
    wanted = site.partition_wanted(arguments)
    here = [one for one in known if (one.name == wanted if wanted else one.is_default)]
    if not here:
        names = some(list(dict.fromkeys(one.name for one in known)))
        text = f"there is no {site.KIND} {wanted!r}" if wanted else f"there is no default {site.KIND}"
        remedy = f"name one in alloc_args ({site.PARTITION_OPTION}): there are {names}"
        yield Check(site.KIND, Verdict.PROBLEM, text, remedy)
        return
    yield from _check_nodes(cluster, site, here)
    yield from _check_time(cluster, site, here[0], time_limit_seconds)
    yield from _check_gpus(cluster, site, here)
    yield from _check_queue(cluster, site.queue_limits(answers, here[0].name))


def _check_nodes(cluster: Cluster, site: Site, here: Sequence[Partition]) -> Iterator[Check]:
    """Compare the nodes of the partition with those that are held at once, or that one evaluation needs."""
    there, idle = sum(one.nodes for one in here), sum(one.idle for one in here)
    kinds = "; ".join(filter(None, map(_kind, here)))
    text = f"{here[0].name}: {there} {site.UNIT}, {idle} of them idle" + (f" ({kinds})" if kinds else "")
    least = cluster.nodes if cluster.has_steps else cluster.nodes_per_eval
    if not here[0].is_up:
        remedy = f"name another one in alloc_args ({site.PARTITION_OPTION})"
        yield Check(site.KIND, Verdict.PROBLEM, f"{text}; it is down", remedy)
    elif least > there:
        name = "nodes" if cluster.has_steps else "nodes_per_eval"
        yield Check(site.KIND, Verdict.PROBLEM, f"{text}, and {name} = {least}", f"set {name} to {there} at most")
    else:
        yield Check(site.KIND, Verdict.OK, text)


def _kind(one: Partition) -> str:
    """Return what nodes are like, as far as it is known."""
    facts = {f"{one.cpus} CPUs": one.cpus, f"{one.memory_mb} MB": one.memory_mb, f"{one.gpus} GPUs": one.gpus}
    known = [text for text, count in facts.items() if count]
    return f"{one.nodes} of {', '.join(known)}" if known else ""


def _check_time(cluster: Cluster, site: Site, here: Partition, time_limit_seconds: float | None) -> Iterator[Check]:
    """Compare the limit of time that is asked for with the greatest one."""
    what = "the allocation" if cluster.has_steps else "each job"
    wanted = site.seconds_wanted(shlex.split(cluster.alloc_args))
    if wanted is None and not cluster.has_steps and time_limit_seconds is not None:
        wanted = time_limit_seconds
    limit = here.default_seconds if wanted is None else wanted
    if limit > here.most_seconds:
        text = f"{what} asks for {_span(limit)}, and {here.name} grants {_span(here.most_seconds)} at most"
        remedy = f"ask for less in alloc_args, or for another {site.KIND} than {here.name}"
        yield Check("limit of time", Verdict.PROBLEM, text, remedy)
    elif wanted is None and limit < math.inf:
        text = f"{what} asks for none, and so gets the default one of {here.name}: {_span(limit)}"
        yield Check("limit of time", Verdict.NOTE, text, f"say how long in alloc_args: {site.TIME_OPTION}")
    else:
        yield Check("limit of time", Verdict.OK, f"{what} has {_span(limit)}")


def _check_gpus(cluster: Cluster, site: Site, here: Sequence[Partition]) -> Iterator[Check]:
    """Say that there are GPUs which nobody asks for."""
    most = max(one.gpus for one in here)
    if most and not site.wants_gpus(shlex.split(f"{cluster.alloc_args} {cluster.launch_args}")):
        each = max(1, most // cluster.evals_per_node)
        remedy = f'if the program uses them: alloc_args = "{site.GPUS_OPTION.format(most)}"' + (
            f', launch_args = "{site.GPUS_OPTION.format(each)}"' if cluster.has_steps else ""
        )
        yield Check("GPUs", Verdict.NOTE, f"nodes of {here[0].name} have {most}, and the study asks for none", remedy)


def _check_queue(cluster: Cluster, limits: QueueLimits) -> Iterator[Check]:
    """Say which limits jobs meet, and whether what has become of them can be looked up."""
    if not cluster.has_steps and 0 < limits.most < cluster.slots:
        text = f"the queue holds {limits.most} jobs of {limits.whose}, and {cluster.slots} are to be there at once"
        yield Check("queue limits", Verdict.NOTE, text, "set slots to less")
        return
    sizes = [f"{limits.together} jobs in an array"] if limits.together else []
    sizes += [f"{limits.most} of {limits.whose} in the queue"] if limits.most else []
    said = [f"at most {', '.join(sizes)}"] if sizes else []
    if said or limits.remark:
        yield Check("queue limits", Verdict.OK, "; ".join([*said, *filter(None, [limits.remark])]))


def _span(seconds: float) -> str:
    return "no limit" if seconds == math.inf else span(seconds)
