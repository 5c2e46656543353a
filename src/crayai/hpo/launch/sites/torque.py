"""What a site with TORQUE offers: it says so as PBS does, and wants GPUs to be asked for by other words."""

from crayai.hpo.launch.sites import pbs

KIND, UNIT = pbs.KIND, pbs.UNIT
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = pbs.PARTITION_OPTION, pbs.TIME_OPTION, "-l nodes=1:gpus={}"
questions, partitions, queue_limits = pbs.questions, pbs.partitions, pbs.queue_limits
partition_wanted, seconds_wanted, wants_gpus = pbs.partition_wanted, pbs.seconds_wanted, pbs.wants_gpus
