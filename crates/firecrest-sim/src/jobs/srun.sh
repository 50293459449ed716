#!/bin/bash
# Stands for srun inside a job of firecrest-sim: starts the tasks here, and writes down each step.
tasks=
nodes=$SLURM_JOB_NUM_NODES
label=0
while [ $# -gt 0 ]; do
  case $1 in
    -n | --ntasks) tasks=$2; shift 2 ;;
    -N | --nodes) nodes=$2; shift 2 ;;
    -n*) tasks=${1#-n}; shift ;;
    -N*) nodes=${1#-N}; shift ;;
    --ntasks=*) tasks=${1#*=}; shift ;;
    --nodes=*) nodes=${1#*=}; shift ;;
    -l | --label) label=1; shift ;;
    -p | -A | -J | -t | -c | -w | -x | -o | -e | -G | -D) shift 2 ;;
    --) shift; break ;;
    -*) shift ;;
    *) break ;;
  esac
done
nodes=${nodes%%-*}
[ -n "$tasks" ] || tasks=$nodes
[ "$tasks" -ge "$nodes" ] || nodes=$tasks
name=$(basename -- "${1:-none}")
# One directory made is one number taken, also by steps that start at once.
step=0
until mkdir "$FIRECREST_SIM_STEPS/$step" 2>/dev/null; do step=$((step + 1)); done
write() { printf '%s\n' "$2" > "$FIRECREST_SIM_STEPS/$step/.$1" && mv "$FIRECREST_SIM_STEPS/$step/.$1" "$FIRECREST_SIM_STEPS/$step/$1"; }
write name "$name"
write start "$(date +%s)"
read -r -a hosts <<< "$FIRECREST_SIM_HOSTS"
pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM INT
for ((task = 0; task < tasks; task++)); do
  node=$((task * nodes / tasks))
  SLURM_STEP_ID=$step SLURM_STEPID=$step SLURM_PROCID=$task SLURM_NODEID=$node SLURM_LOCALID=$((task - (node * tasks + nodes - 1) / nodes)) \
    SLURM_NTASKS=$tasks SLURM_NPROCS=$tasks SLURM_STEP_NUM_TASKS=$tasks SLURM_STEP_NUM_NODES=$nodes SLURMD_NODENAME=${hosts[$node]} \
    "$@" &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
  wait "$pid"
  code=$?
  # A wait that a signal interrupted has not waited.
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done
  [ $code -gt $status ] && status=$code
done
write exit "$(date +%s) $status"
exit $status
