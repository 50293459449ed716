#!/bin/bash
# One process of the load generator of {{ id }}.
set -u
umask 077
work=$1 end_at=$2
# Each process has a directory of its own, also where several share a node.
work=$work/${SLURM_PROCID:-0}
mkdir -p "$work" || exit 1
exec {{ command.program }} --config {{ command.directory }}/run_config.json --directory {{ command.directory }} \
  --work "$work" --end-at "$end_at" --rank "${SLURM_PROCID:-0}" --of {{ tasks }}{{ command.server }}
