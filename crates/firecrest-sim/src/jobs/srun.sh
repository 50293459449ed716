#!/bin/bash
# Stands for srun inside a job of firecrest-sim: starts the tasks here, and writes down each step.
tasks= each= output= error=
nodes=$SLURM_JOB_NUM_NODES
read -r -a hosts <<< "$FIRECREST_SIM_HOSTS"
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    --*=*) option=${1%%=*} value=${1#*=}; shift ;;
    --exclusive | --overlap | --label | --unbuffered | --verbose | --quiet | --pty | --no-kill | --exact | --multi-prog | \
      --kill-on-bad-exit | --wait-all-nodes | --oversubscribe) option=$1 value=; shift ;;
    --*) option=$1 value=$2; shift 2 ;;
    -l | -u | -v | -q | -s | -k | -K) option=$1 value=; shift ;;
    -?) option=$1 value=$2; shift 2 ;;
    -*) option=${1:0:2} value=${1:2}; shift ;;
    *) break ;;
  esac
  case $option in
    -n | --ntasks) tasks=$value ;;
    -N | --nodes) nodes=${value%%-*} ;;
    --ntasks-per-node) each=$value ;;
    -w | --nodelist) IFS=, read -r -a hosts <<< "$value" ;;
    -o | --output) output=$value ;;
    -e | --error) error=$value ;;
  esac
done
[ $# -gt 0 ] || { echo 'srun: fatal: No command given to execute.' >&2; exit 1; }
[ -n "$tasks" ] || tasks=$((nodes * ${each:-1}))
[ "$tasks" -ge "$nodes" ] || nodes=$tasks
# One directory made is one number taken, also by steps that start at once.
step=0
until mkdir "$FIRECREST_SIM_STEPS/$step" 2>/dev/null; do step=$((step + 1)); done
note() { printf '%s\n' "$2" > "$FIRECREST_SIM_STEPS/$step/.$1" && mv "$FIRECREST_SIM_STEPS/$step/.$1" "$FIRECREST_SIM_STEPS/$step/$1"; }
note name "$(basename -- "$1")"
note start "$(date +%s)"
expand() {
  local path=$1
  path=${path//%j/$SLURM_JOB_ID} path=${path//%t/$task} path=${path//%n/$node} path=${path//%N/${hosts[$node]}} path=${path//%s/$step}
  printf '%s' "$path"
}
run() {
  export SLURM_STEP_ID=$step SLURM_STEPID=$step SLURM_PROCID=$task SLURM_NODEID=$node SLURM_LOCALID=$local_id
  export SLURM_NTASKS=$tasks SLURM_NPROCS=$tasks SLURM_STEP_NUM_TASKS=$tasks SLURM_STEP_NUM_NODES=$nodes
  export SLURM_STEP_NODELIST=$(IFS=,; echo "${hosts[*]:0:$nodes}") SLURMD_NODENAME=${hosts[$node]}
  [ -z "$output" ] || exec >> "$(expand "$output")" 2>&1
  [ -z "$error" ] || exec 2>> "$(expand "$error")"
  exec "$@"
}
pids=() last=-1
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM INT
for ((task = 0; task < tasks; task++)); do
  node=$((task * nodes / tasks))
  if [ $node -eq $last ]; then local_id=$((local_id + 1)); else local_id=0 last=$node; fi
  run "$@" &
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
note exit "$(date +%s) $status"
exit $status
