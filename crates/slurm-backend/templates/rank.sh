#!/bin/bash
# One node's part of {{ id }}.
set -u
umask 077
{% for (name, position) in variables -%}
{{ name }}=${{ position }}
{% endfor -%}
{% if uses_head_port -%}
head_port=$((port + 1))
{% endif -%}
{% if with_ray -%}
ray_port=$((port + 2))
{% endif -%}
{% for (name, value) in environment -%}
export {{ name }}={{ value }}
{% endfor -%}
{% if with_ray %}
export RAY_CGRAPH_get_timeout=1800
if [ "$rank" != 0 ]; then
  # The first node's Ray may come later.
  until (exec 3<> "/dev/tcp/$head/$ray_port") 2>/dev/null; do sleep 2; done
  exec ray start --address="$head:$ray_port" --node-ip-address="$address" --num-gpus={{ gpus_per_node }} --block
fi
ray start --head --node-ip-address="$address" --port="$ray_port" --num-gpus={{ gpus_per_node }} --block &
gpus=0
until [ "$gpus" -ge {{ gpus }} ]; do
  sleep 2
  kill -0 "$!" 2>/dev/null || exit 1
  gpus=$(python3 -c 'import ray; ray.init(address="auto", logging_level="ERROR"); print(int(ray.cluster_resources().get("GPU", 0)))' 2>/dev/null | tail -n 1)
  case $gpus in '' | *[!0-9]*) gpus=0 ;; esac
done
echo "Ray has $gpus GPUs"
exec {{ command }}
{% else if let Some(frontend) = frontend %}
if [ "$rank" != 0 ]; then
  exec {{ command }}{{ ranks }}{{ followers }}
fi
frontend='' worker=''
# The server needs both: the first one that ends takes the other with it.
end() { kill ${frontend:+"$frontend"} ${worker:+"$worker"} 2>/dev/null; }
trap 'end; exit 143' TERM INT
{{ frontend }} &
frontend=$!
{{ command }}{{ ranks }} &
worker=$!
wait -n
code=$?
end
exit "$code"
{% else if !followers.is_empty() %}
if [ "$rank" != 0 ]; then
  exec {{ command }}{{ ranks }}{{ followers }}
fi
exec {{ command }}{{ ranks }}
{% else %}
exec {{ command }}{{ ranks }}
{% endif -%}
