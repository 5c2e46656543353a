"""What a site with TORQUE offers: it says so as PBS does, and wants GPUs to be asked for by other words."""

from crayai.hpo.launch import pbs_site

KIND, UNIT = pbs_site.KIND, pbs_site.UNIT
PARTITION_OPTION, TIME_OPTION, GPUS_OPTION = pbs_site.PARTITION_OPTION, pbs_site.TIME_OPTION, "-l nodes=1:gpus={}"
questions, partitions, queue_limits = pbs_site.questions, pbs_site.partitions, pbs_site.queue_limits
partition_wanted, seconds_wanted, wants_gpus = pbs_site.partition_wanted, pbs_site.seconds_wanted, pbs_site.wants_gpus
