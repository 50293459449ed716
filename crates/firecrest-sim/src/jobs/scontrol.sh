#!/bin/bash
# Stands for scontrol inside a job of firecrest-sim: only `show hostnames`.
if [ "$1 $2" = "show hostnames" ] && { [ -z "$3" ] || [ "$3" = "$SLURM_JOB_NODELIST" ]; }; then
  printf '%s\n' $FIRECREST_SIM_HOSTS
  exit 0
fi
echo "scontrol: error: firecrest-sim answers only to 'show hostnames' of the job's own nodes" >&2
exit 1
