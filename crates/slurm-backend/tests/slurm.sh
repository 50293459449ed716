#!/bin/bash
# Stands for Slurm's commands in a test: called by their names, with jobs as processes and a folder for what is known of
# them, and without accounting.
set -u
spool=SPOOL
field() { cat "$spool/$1/$2" 2>/dev/null; }

state() {
  if [ -e "$spool/$1/cancelled" ]; then echo CANCELLED
  elif [ ! -e "$spool/$1/exit" ]; then echo RUNNING
  elif [ "$(field "$1" exit)" = 0 ]; then echo COMPLETED
  else echo FAILED; fi
}

refuse() { echo "sbatch: error: Batch job submission failed: $1" >&2; exit 1; }

submit() {
  local name directory id number=1
  for argument in "$@"; do
    case $argument in
      --job-name=*) name=${argument#*=} ;;
      --chdir=*) directory=${argument#*=} ;;
    esac
  done
  [ -e "$spool/sbatch-hangs" ] && { rm "$spool/sbatch-hangs"; sleep 60; }
  script=$(cat)
  case $script in
    *--partition=nosuch*) refuse 'Invalid partition name specified' ;;
    *--account=nosuch*) refuse 'Invalid account or account/partition combination specified' ;;
    *--time=9-00*) refuse 'Requested time limit is invalid (missing or exceeds some limit)' ;;
  esac
  while ! mkdir "$spool/$number" 2>/dev/null; do number=$((number + 1)); done
  id=$number
  echo "$name" >"$spool/$id/name"
  date +%s >"$spool/$id/start"
  printf '%s\n' "$script" >"$spool/$id/script"
  (
    cd "$directory" || exit 1
    SLURM_JOB_ID=$id setsid bash "$spool/$id/script" >job.log 2>&1 </dev/null &
    echo $! >"$spool/$id/pid"
    wait $!
    echo $? >"$spool/$id/exit"
  ) >/dev/null 2>&1 </dev/null &
  if [ -e "$spool/answer-is-lost" ]; then rm "$spool/answer-is-lost"; kill -9 $$; fi
  echo "$id"
}

queue() {
  local wanted='' id
  for argument in "$@"; do
    case $argument in --jobs=*) wanted=${argument#*=} ;; esac
  done
  if [ -n "$wanted" ] && [ ! -e "$spool/$wanted" ]; then
    echo 'slurm_load_jobs error: Invalid job id specified' >&2
    exit 1
  fi
  for id in ${wanted:-$(ls "$spool" | grep -x '[0-9]*')}; do
    printf '%s\037%s\037None\037nid001001\037normal\0370:01\0375:00\037%s\037%s\037(null)\n' \
      "$id" "$(state "$id")" "$(field "$id" start)" "$(field "$id" name)"
  done
}

case $(basename "$0") in
  sbatch) submit "$@" ;;
  squeue) queue "$@" ;;
  sacct) echo 'Slurm accounting storage is disabled' >&2; exit 1 ;;
  sacctmgr) exit 1 ;;
  scancel)
    [ -e "$spool/$1" ] || { echo "scancel: error: Kill job error on job id $1: Invalid job id specified" >&2; exit 1; }
    [ "$(state "$1")" = RUNNING ] || exit 0
    touch "$spool/$1/cancelled"
    kill -9 -- "-$(field "$1" pid)"
    ;;
  scontrol)
    echo "JobId=$4 JobName=$(field "$4" name) UserId=me(1) JobState=$(state "$4") Reason=None ExitCode=$(field "$4" exit):0 RunTime=00:00:01"
    ;;
esac
