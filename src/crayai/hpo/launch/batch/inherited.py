"""The driver's environment as a file for the shell, for batch systems that do not hand it on as it is."""

import os
import re
import shlex

_ITS_OWN = ("PBS_", "SLURM_", "MOAB_", "CRAYAI_", "BASH_FUNC_", "SGE_")
_OF_THE_MACHINE = {
    "_", "CUDA_VISIBLE_DEVICES", "HOSTNAME", "NCPUS", "OLDPWD", "OMP_NUM_THREADS", "PWD", "SHLVL", "TMPDIR",
}  # fmt: skip
_OF_A_JOB_OF_GRID_ENGINE = {
    "ARC", "ENVIRONMENT", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NHOSTS", "NQUEUES", "NSLOTS", "PE", "PE_HOSTFILE",
    "QUEUE", "REQNAME", "REQUEST", "RESTARTED",
}  # fmt: skip
"""Names that anybody may use, but for those who run in such a job."""
_READ_ONLY = {"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"}
"""Names that bash does not let anybody set; as ``sh`` it ends there."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def exports() -> str:
    """Return the variables that a job is to find as the driver has them; what belongs to a job or a machine is not."""
    foreign = _OF_THE_MACHINE | _READ_ONLY | (_OF_A_JOB_OF_GRID_ENGINE if "SGE_TASK_ID" in os.environ else set())
    return "".join(
        f"export {name}={shlex.quote(text)}\n"
        for name, text in sorted(os.environ.items())
        if _NAME.fullmatch(name) and name not in foreign and not name.startswith(_ITS_OWN)
    )
