#!/bin/bash -l
{% for directive in header.directives -%}
#SBATCH {{ directive }}
{% endfor -%}
set -u
umask 077
# Older Slurms do not say when a job ends.
: "${SLURM_JOB_END_TIME:=$(($(printf '%(%s)T' -1) + {{ header.walltime }}))}"
export SLURM_JOB_END_TIME
# Credentials that may have come with the environment of sbatch are no business of what runs here.
unset "${!OAUTH_@}" "${!FIRECREST_@}"

{{ header.mark -}}
cd {{ directory }} || exit 1
# Slurm has made it for whoever the submission's mask lets in.
chmod 600 {{ header.log }}
{% for line in header.prologue -%}
{{ line }}
{% endfor -%}
